"""Raw media as Foxglove's protobuf messages ``RawAudio`` and ``CompressedImage``, which its viewers and Rerun show.

The messages are those of the package foxglove-schemas-protobuf, with one more field: ``edge_mer`` holds the header
frame as it was on the wire, so that the message can be restored; other readers skip it. Encoded by hand, since it is
two messages (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Message
from edge_mer.contract.modalities import TABLE
from edge_mer.contract.protobuf import fields_of

Kind = Literal["int64", "int32", "fixed32", "string", "bytes", "time"]
_VARINT, _DELIMITED, _FIXED32 = 0, 2, 5
# Types of google.protobuf.FieldDescriptorProto.
_TYPES: Final[Mapping[Kind, int]] = {"int64": 3, "int32": 5, "fixed32": 7, "string": 9, "time": 11, "bytes": 12}
_TIME: Final = "google.protobuf.Timestamp"
SCHEMA_OF: Final[Mapping[str, str]] = {f"raw/{m}": row.foxglove for m, row in TABLE.items() if row.foxglove}


class Field(NamedTuple):
    name: str
    number: int
    kind: Kind


DATA: Final = Field("data", 2, "bytes")
HEADER: Final = Field("edge_mer", 1000, "bytes")
FIELDS: Final[Mapping[str, tuple[Field, ...]]] = {
    _TIME: (Field("seconds", 1, "int64"), Field("nanos", 2, "int32")),
    "foxglove.RawAudio": (
        Field("timestamp", 1, "time"),
        DATA,
        Field("format", 3, "string"),
        Field("sample_rate", 4, "fixed32"),
        Field("number_of_channels", 5, "fixed32"),
        HEADER,
    ),
    "foxglove.CompressedImage": (
        Field("timestamp", 1, "time"),
        DATA,
        Field("format", 3, "string"),
        Field("frame_id", 4, "string"),
        HEADER,
    ),
}


def pack(message: Message[Any], wall_offset_us: int) -> bytes:
    """``wall_offset_us``: what to add to the host's monotonic time to get wall time."""
    name = SCHEMA_OF[message.topic]
    seconds, us = divmod(max(0, message.envelope.origin_us + wall_offset_us), 1_000_000)
    values: dict[str, Any] = {
        "timestamp": _encoded(_TIME, {"seconds": seconds, "nanos": us * 1000}),
        "data": message.payload[0].tobytes(),
        "edge_mer": message.header,
    }
    if name == "foxglove.RawAudio":
        values |= {"format": "pcm-s16", "sample_rate": message.body.rate, "number_of_channels": 1}
    else:
        values |= {"format": "jpeg", "frame_id": "camera"}
    return _encoded(name, values)


def header(data: bytes) -> bytes:
    """Only the header frame. Raises BadMessage."""
    return _decoded(data).get(HEADER.number, b"")


def frames(data: bytes) -> list[bytes]:
    """Header and payload frame as they were on the wire. Raises BadMessage."""
    found = _decoded(data)
    return [found.get(field.number, b"") for field in (HEADER, DATA)]


def schema(name: str) -> bytes:
    """A ``google.protobuf.FileDescriptorSet`` of the message and of what it needs."""
    needed = _file("google/protobuf/timestamp.proto", _TIME, ())
    own = _file(f"{name.replace('.', '/')}.proto", name, ("google/protobuf/timestamp.proto",))
    return _bytes(1, needed) + _bytes(1, own)


def _file(path: str, name: str, needs: Iterable[str]) -> bytes:
    package, _, short = name.rpartition(".")
    fields = b"".join(_bytes(2, _described(field)) for field in FIELDS[name])
    dependencies = b"".join(_bytes(3, need.encode()) for need in needs)
    message = _bytes(4, _bytes(1, short.encode()) + fields)
    return _bytes(1, path.encode()) + _bytes(2, package.encode()) + dependencies + message + _bytes(12, b"proto3")


def _described(field: Field) -> bytes:
    optional = 1
    named = _bytes(1, field.name.encode()) + _number(3, field.number) + _number(4, optional)
    kind = _number(5, _TYPES[field.kind])
    return named + kind + (_bytes(6, f".{_TIME}".encode()) if field.kind == "time" else b"")


def _encoded(name: str, values: Mapping[str, Any]) -> bytes:
    parts = []
    for field in FIELDS[name]:
        value = values[field.name]
        if field.kind in ("int64", "int32"):
            parts.append(_number(field.number, value))
        elif field.kind == "fixed32":
            parts.append(_varint(field.number << 3 | _FIXED32) + (value & 0xFFFFFFFF).to_bytes(4, "little"))
        else:
            parts.append(_bytes(field.number, value.encode() if isinstance(value, str) else value))
    return b"".join(parts)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _decoded(data: bytes) -> dict[int, bytes]:
    """The last value of each field that holds bytes, by number. Raises BadMessage."""
    try:
        return {number: value for number, value in fields_of(data) if isinstance(value, bytes)}
    except ValueError as error:
        raise BadMessage(f"media: {error}") from error
