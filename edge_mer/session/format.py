"""How bus messages are stored in an MCAP file.

One channel per topic, named like it, with the JSON Schema of its header in the file. Message encodings:

- ``json``: the header frame as it was on the wire, where there is no payload; any MCAP tool reads it.
- ``json`` of topic ``people``: Foxglove's ``ImageAnnotations``, with that header (``edge_mer.session.boxes``).
- ``protobuf``: audio and video, in Foxglove's own schemas (``edge_mer.session.media_protobuf``). Older files have them
  as ``json`` (``edge_mer.session.foxglove``), which is read as before.
- ``edge_mer.frames``: header length (u32, little endian), the header frame, the payload frames one after
  another; the header's ``payload`` field gives the dtype and shape of each, hence its length.
- either with the suffix ``+aes256gcm``: encrypted with the key of its modality (``edge_mer.session.keys``).

All keep the wire frames byte for byte. ``log_time`` (when the recorder received it) and ``publish_time`` (when the
worker created it, ``created_us``) are nanoseconds of wall time: the host's monotonic time plus ``wall_offset_us`` of
the metadata record ``edge_mer.opening``, constant within a file; topic ``clock`` records how the two clocks drift.

The metadata record ``edge_mer.trailer`` closes the file; a file without it was cut off. Metadata values are
JSON.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from edge_mer.contract import wire
from edge_mer.contract.errors import BadMessage, SessionError
from edge_mer.contract.messages import Body, Envelope, Message
from edge_mer.contract.services import SERVICES
from edge_mer.session import boxes, foxglove, media_protobuf

VERSION = 2
PROFILE = "edge_mer"
JSON, PROTOBUF, FRAMES = "json", "protobuf", "edge_mer.frames"
OPENING, TRAILER = "edge_mer.opening", "edge_mer.trailer"

_LENGTH = struct.Struct("<I")
_ENVELOPE = msgspec.json.Decoder(Envelope)


class SessionOpening(Struct, kw_only=True, frozen=True):
    """Versions, host and configuration: all that could change a result bit. ``config`` contains no passwords.

    ``session`` (32 hex digits) names the recording in the key store. ``joined``: the recording began while fusion was
    already running, so that its first entries cannot be replayed.
    """

    format: int
    session: str
    joined: bool
    boot_id: str
    opened_us: int
    wall_offset_us: int
    config: dict[str, Any]
    versions: dict[str, str]
    threads: dict[str, str]
    host: dict[str, str]


class Trailer(Struct, kw_only=True, frozen=True):
    """What was recorded. ``digest`` covers all results, ``journal`` all journal headers, in their order.

    ``unverifiable``: why the session cannot be verified, or null. ``models`` are those of the features and of
    fusion; ``config`` and ``runtime`` are digests of ``SessionOpening.config`` and of versions, backend and machine;
    ``threads``: the thread limit of each library. ``origin``: recorded, or how this file was made from a recording.
    """

    closed_us: int
    entries: int
    results: int
    digest: str
    journal: str
    unverifiable: str | None
    models: dict[str, str]
    config: str
    runtime: str
    threads: dict[str, str]
    messages: dict[str, int]
    counters: dict[str, int]
    origin: str = "recorded"


def pack(message: Message[Any], wall_offset_us: int = 0, picture: tuple[int, int] = (1, 1)) -> tuple[str, bytes]:
    """Message encoding and data of one message. ``picture``: width and height of the newest picture, for
    boxes in it."""
    if message.topic in foxglove.SCHEMA_OF:
        if foxglove.fits(message):
            return PROTOBUF, media_protobuf.pack(message, wall_offset_us)
    elif message.topic == boxes.TOPIC:
        return JSON, boxes.pack(message, wall_offset_us, picture)
    elif not message.payload:
        return JSON, message.header
    return FRAMES, b"".join([_LENGTH.pack(len(message.header)), message.header, *map(bytes, message.payload)])


def unpack(topic: str, encoding: str, data: bytes) -> Message[Any]:
    """The message as a reader on the bus received it. Raises BadMessage naming the fault."""
    row = SERVICES.get(topic)
    if row is None:
        raise BadMessage(f"{topic}: no such topic in this version")
    if len(data) > 2 * row.max_bytes:  # base64 and a header around it
        raise BadMessage(f"{topic}: {len(data)} bytes, at most {row.max_bytes} allowed")
    frames = [topic.encode(), *_frames(topic, encoding, data)]
    return wire.decode(topic, row.body, row.version, row.max_bytes, frames)


def envelope(topic: str, encoding: str, data: bytes) -> Envelope:
    """Only the envelope, cheaply: for indexing. Raises BadMessage."""
    if (media := _media(topic, encoding)) is not None:
        return _envelope(topic, media.header(data))
    return _envelope(topic, _split(encoding, data)[0])


def media_schema(topic: str, encoding: str) -> tuple[str, str, bytes] | None:
    """Name, schema encoding and schema of a channel of media or annotations; None for all others."""
    media = _media(topic, encoding)
    if media is None:
        return None
    if media is boxes:
        return boxes.NAME, "jsonschema", boxes.schema()
    name = foxglove.SCHEMA_OF[topic]
    if encoding == JSON:
        return name, "jsonschema", foxglove.schema(name)
    return name, "protobuf", media_protobuf.schema(name)


def _media(topic: str, encoding: str) -> Any:
    """The module that reads this form of media or annotations."""
    if topic == boxes.TOPIC:
        return boxes if encoding == JSON else None
    return {JSON: foxglove, PROTOBUF: media_protobuf}.get(encoding) if topic in foxglove.SCHEMA_OF else None


def _split(encoding: str, data: bytes) -> tuple[bytes, bytes]:
    if encoding == JSON:
        return data, b""
    if encoding != FRAMES:
        raise BadMessage(f"message encoding {encoding!r} is unknown; known: {JSON}, {PROTOBUF}, {FRAMES}")
    if len(data) < _LENGTH.size:
        raise BadMessage(f"{len(data)} bytes are too few for a message")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    return data[_LENGTH.size : end], data[end:]


def _frames(topic: str, encoding: str, data: bytes) -> list[bytes]:
    if (media := _media(topic, encoding)) is not None:
        frames: list[bytes] = media.frames(data)
        return frames
    header, rest = _split(encoding, data)
    found, start = [header], 0
    for spec in _envelope(topic, header).payload:
        if spec.dtype not in wire.DTYPES:
            raise BadMessage(f"{topic}: payload dtype {spec.dtype!r}")
        size = math.prod(spec.shape) * wire.DTYPES[spec.dtype].itemsize
        if not 0 <= size <= len(rest) - start:
            raise BadMessage(f"{topic}: payload of {len(rest)} bytes is shorter than its header declares")
        found.append(rest[start : start + size])
        start += size
    if start != len(rest):
        raise BadMessage(f"{topic}: {len(rest) - start} bytes more than the header declares")
    return found


def _envelope(topic: str, header: bytes) -> Envelope:
    try:
        return _ENVELOPE.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"{topic}: {error}") from error


def header_schema(schema: str, body: type[Body]) -> bytes:
    """JSON Schema of a topic's header: envelope and body fields in one flat object, in the subset Foxglove reads."""
    parts, definitions = msgspec.json.schema_components([Envelope, body], ref_template="#/$defs/{name}")
    objects = [definitions.pop(part["$ref"].rpartition("/")[2]) for part in parts]
    merged = {
        "title": schema,
        "description": objects[1].get("description", ""),
        "type": "object",
        "properties": objects[0]["properties"] | objects[1]["properties"],
        "required": objects[0]["required"] + objects[1]["required"],
    }
    return msgspec.json.encode(foxglove.plain(merged, definitions))


S = TypeVar("S", SessionOpening, Trailer)


def to_metadata(record: SessionOpening | Trailer) -> dict[str, str]:
    return {k: msgspec.json.encode(v).decode() for k, v in msgspec.to_builtins(record).items()}


def from_metadata(kind: type[S], metadata: Mapping[str, str]) -> S:
    """Raises SessionError when a field is missing, unreadable or of another type."""
    try:
        return msgspec.convert({k: msgspec.json.decode(v) for k, v in metadata.items()}, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = "opening" if kind is SessionOpening else "trailer"
        raise SessionError(f"{name} record: {error}") from error
