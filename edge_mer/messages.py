"""Typed messages, one per row of the services table, and their wire form.

Wire: ``topic | JSON header | payload frames``. The header is one flat object of envelope and body fields, so that
a shell script can read it. Field names follow ISO/IEC 30150 and EmotionML where those have one.

Every body field is a *result* (exact under replay) unless it is marked ``Delivery``; ``result_bytes`` is the
canonical form that promises 3 and 4 speak of.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from edge_mer.domain import Combination, Emotion, Gate, Health, Modality
from edge_mer.errors import BadMessage

DELIVERY = Meta(extra={"part": "delivery"})


class Body(Struct, kw_only=True, frozen=True):
    """Fields of one message without its envelope."""


class ArraySpec(Struct, frozen=True):
    """dtype and shape of one payload frame; coded frames (JPEG) are ``uint8`` of their length."""

    dtype: str
    shape: tuple[int, ...]


class Envelope(Struct, kw_only=True, frozen=True):
    """Who made the message, when the physical event began, and when the message was made (monotonic, us).

    ``boot`` names one life of the source process; ``seq`` counts its messages on this topic from 0.
    """

    schema: str
    source: str
    boot: str
    seq: int
    origin_us: int
    created_us: int
    payload: tuple[ArraySpec, ...] = ()


class RawAudio(Body, frozen=True):
    """PCM int16 mono. ``sample_index`` counts since the device opened; time comes from it, anchored to ADC time."""

    rate: int
    sample_index: int
    overflows: int
    mask_epoch: int


class RawVideo(Body, frozen=True):
    """One JPEG frame."""

    frame: int
    width: int
    height: int
    mask_epoch: int


class WordTime(Struct, frozen=True):
    text: str
    start_us: int
    end_us: int
    approx: bool = False


class RawText(Body, frozen=True):
    """All words of one segment as known now; a later message of the same segment replaces it.

    ``parent`` is ``raw/audio`` when the words were made from the microphone: its mask then masks them too.
    """

    segment: int
    words: tuple[WordTime, ...]
    final: bool
    parent: str | None
    engine: str
    mask_epoch: int


class SensorState(Body, frozen=True):
    """``state/<m>``: what the gate does and what the sensor is measured to do, two different things."""

    modality: Modality
    gate: Gate
    health: Health
    reason: str | None
    device: str
    mask_epoch: int
    rate_hz: float
    dropped: int


class Feature(Body, frozen=True):
    """Tokens of one modality. Payload: values f4 [n, dim], start_us i8 [n], end_us i8 [n], valid u1 [n].

    ``raw_first..raw_last`` is the sequence range of ``raw_boot`` that the tokens came from. ``context`` and ``cut``
    as in edge_mer.perception.encoder.Tokens. ``watermark_us``: everything before it has been encoded.
    """

    modality: Modality
    encoder: str
    model: str
    raw_source: str
    raw_boot: str
    raw_first: int
    raw_last: int
    context: int
    cut: bool
    final: bool
    watermark_us: int
    biometric: bool
    mask_epoch: int
    raw_created_us: Annotated[int, DELIVERY]


class Presence(Struct, frozen=True):
    """Whether a modality takes part in an estimate, why (not), and with how many valid tokens."""

    state: str
    reason: str | None
    tokens: int


class Latency(Struct, frozen=True):
    """Milliseconds per stage, for the newest evidence in the window; ``total`` from its event to the message."""

    capture: float
    encode: float
    wait: float
    fuse: float
    publish: float
    total: float


class Estimate(Body, frozen=True):
    """``emotion``: the expressed emotion over one window. ``label`` is null when ``abstain`` names a reason."""

    combination: Combination
    probabilities: dict[Emotion, float] | None
    label: Emotion | None
    abstain: str | None
    confidence: float | None
    calibrated: bool
    sentiment: float | None
    sentiment_reason: str | None
    presence: dict[Modality, Presence]
    revision: int
    final: bool
    biometric: bool
    mask_epoch: int
    model: str
    runtime: Annotated[str, DELIVERY]
    latency_ms: Annotated[Latency, DELIVERY]


class Explain(Body, frozen=True):
    """``explain``: exact Shapley contribution of each present modality to the top label and to sentiment."""

    combination: Combination
    label: Emotion | None
    contributions: dict[Modality, float]
    sentiment_contributions: dict[Modality, float] | None


class InputRef(Struct, frozen=True, tag="message"):
    """A message that was folded: together the four fields name it uniquely."""

    topic: str
    source: str
    boot: str
    seq: int


class PurgeRef(Struct, frozen=True, tag="purge"):
    """A purge order that was folded at this place in the order."""

    modality: Modality
    mask_epoch: int


class Journal(Body, frozen=True):
    """What one tick folded, in order. ``chain`` hashes the entry before it, so swapped entries are found.

    ``entry`` 0 opens a life of the node: ``opening`` holds the fold's configuration and model, as JSON.
    """

    entry: int
    tick_us: int
    inputs: tuple[InputRef | PurgeRef, ...]
    watermarks: dict[Modality, int]
    drops: dict[str, int]
    results: tuple[str, ...]
    chain: str
    opening: str | None = None


class PrivacyState(Struct, frozen=True):
    """What was asked of one modality and what holds, measured; ``last_seq`` is the last raw message before it."""

    requested: Gate
    effective: Gate
    since_us: int
    mask_epoch: int
    last_seq: int | None
    reason: str | None


class Privacy(Body, frozen=True):
    """``privacy``: command and state are different things. ``mask_epoch`` grows with every change."""

    mask_epoch: int
    modalities: dict[Modality, PrivacyState]


class Receipt(Body, frozen=True):
    """``receipt``: proof that a mask took effect. ``previous`` chains it; ``signature`` is by the host key."""

    modality: Modality
    mask_epoch: int
    requester: str
    requested_us: int
    closed_us: int
    purged_us: int
    last_seq: int | None
    purged: tuple[str, ...]
    handle_closed: bool
    previous: str
    signature: str


class WorkerHealth(Struct, frozen=True):
    """One worker as the supervisor sees it."""

    state: str
    pid: int | None
    restarts: int
    age_us: int | None
    reason: str | None
    cpu: float
    rss: int
    counters: dict[str, int]


class HealthReport(Body, frozen=True):
    """``health``: every worker, once a second."""

    workers: dict[str, WorkerHealth]


class ClockReport(Body, frozen=True):
    """``clock``: the only place where monotonic time meets wall time; add ``offset_us`` to get wall time."""

    boot_id: str
    offset_us: int
    uncertainty_us: int


B = TypeVar("B", bound=Body)


class Message(Struct, Generic[B], frozen=True, eq=False):
    """One message as a reader gets it. ``header`` is the JSON of the wire; payload arrays are read-only views."""

    topic: str
    envelope: Envelope
    body: B
    payload: tuple[NDArray[Any], ...]
    header: bytes

    @property
    def ref(self) -> InputRef:
        e = self.envelope
        return InputRef(self.topic, e.source, e.boot, e.seq)


_ENVELOPE = msgspec.json.Decoder(Envelope)
_ENCODER = msgspec.json.Encoder()
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("float32", "int16", "int64", "uint8")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@cache
def schema_name(topic: str, version: int) -> str:
    """``raw/audio`` in version 1 is ``edge_mer.raw.audio/1``."""
    return f"edge_mer.{topic.replace('/', '.')}/{version}"


def specs_of(payload: Sequence[NDArray[Any]]) -> tuple[ArraySpec, ...]:
    """What an envelope says of its payload."""
    return tuple([ArraySpec(_NAMES.get(a.dtype) or a.dtype.name, a.shape) for a in payload])


def encode(topic: str, envelope: Envelope, body: Body, payload: Sequence[NDArray[Any]] = ()) -> list[bytes]:
    """Wire frames of one message. Raises BadMessage for NaN or Inf: they never leave a worker."""
    for array in payload:
        if array.dtype not in _NAMES:
            raise BadMessage(f"{topic}: payload dtype {array.dtype.name!r}, expected {', '.join(_DTYPES)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadMessage(f"{topic}: payload holds NaN or Inf; mark such tokens invalid instead of sending them")
    if _holds_floats(type(body)) and not _finite(msgspec.to_builtins(body)):
        raise BadMessage(f"{topic}: a header field is NaN or Inf; send null with a reason instead")
    if len(envelope.payload) != len(payload):
        envelope = msgspec.structs.replace(envelope, payload=specs_of(payload))
    head, tail = _ENCODER.encode(envelope), _ENCODER.encode(body)
    header = head if tail == b"{}" else head[:-1] + b"," + tail[1:]
    return [topic.encode(), header, *(np.ascontiguousarray(a).tobytes() for a in payload)]


def decode(topic: str, body: type[B], version: int, max_bytes: int, frames: Sequence[bytes]) -> Message[B]:
    """Check and decode wire frames (without trusting any of them). Raises BadMessage naming the fault."""
    check_size(topic, max_bytes, frames)
    if len(frames) < 2 or frames[0] != topic.encode():
        raise BadMessage(f"{topic}: expected topic and header frames, got {len(frames)} frames")
    try:
        envelope = _ENVELOPE.decode(frames[1])
        parsed: B = _decoder(body).decode(frames[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"{topic}: {error}") from error
    if envelope.schema != schema_name(topic, version):
        raise BadMessage(f"{topic}: schema {envelope.schema!r}, expected {schema_name(topic, version)!r}")
    if len(envelope.payload) != len(frames) - 2:
        raise BadMessage(f"{topic}: header names {len(envelope.payload)} payload frames, got {len(frames) - 2}")
    arrays = tuple([_array(topic, s, f) for s, f in zip(envelope.payload, frames[2:], strict=True)])
    return Message(topic, envelope, parsed, arrays, frames[1])


def check_size(topic: str, max_bytes: int, frames: Sequence[bytes]) -> None:
    size = sum(map(len, frames))
    if size > max_bytes:
        raise BadMessage(f"{topic}: {size} bytes, at most {max_bytes} allowed")


@cache
def _decoder(body: type[B]) -> msgspec.json.Decoder[B]:
    return msgspec.json.Decoder(body)


@cache
def _holds_floats(body: type[Body]) -> bool:
    """Most bodies hold no number that could be NaN; those that do are walked before they are sent."""
    return b'"number"' in _ENCODER.encode(msgspec.json.schema(body))


def _array(topic: str, spec: ArraySpec, frame: bytes) -> NDArray[Any]:
    dtype = _DTYPES.get(spec.dtype)
    if dtype is None:
        raise BadMessage(f"{topic}: payload dtype {spec.dtype!r}, expected {', '.join(_DTYPES)}")
    if math.prod(spec.shape) * dtype.itemsize != len(frame) or min(spec.shape, default=0) < 0:
        raise BadMessage(f"{topic}: payload of {len(frame)} bytes does not hold {spec.dtype} {list(spec.shape)}")
    array = np.frombuffer(frame, dtype).reshape(spec.shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise BadMessage(f"{topic}: payload holds NaN or Inf")
    return array


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return True


@cache
def delivery_fields(body: type[Body]) -> frozenset[str]:
    """Names of the fields that may differ between a run and its replay."""
    hints = get_type_hints(body, include_extras=True)
    return frozenset(n for n, hint in hints.items() if DELIVERY in getattr(hint, "__metadata__", ()))


def result(origin_us: int, body: Body) -> dict[str, Any]:
    """The result fields: ``origin_us`` and every body field that is not marked delivery."""
    skip = delivery_fields(type(body))
    return {"origin_us": origin_us, **{k: v for k, v in msgspec.to_builtins(body).items() if k not in skip}}


def canonical(origin_us: int, body: Body, payload: Sequence[NDArray[Any]] = ()) -> bytes:
    """Canonical bytes of a result: sorted JSON, then the payload bytes."""
    header = msgspec.json.encode(result(origin_us, body), order="sorted")
    return b"\n".join([header, *(a.tobytes() for a in payload)])


def result_bytes(message: Message[Any]) -> bytes:
    """``canonical`` of a message as read from the bus or from a recording."""
    return canonical(message.envelope.origin_us, message.body, message.payload)


def digest(data: bytes) -> str:
    """sha256, first 32 hex digits: long enough to prove, short enough to print."""
    return hashlib.sha256(data).hexdigest()[:32]
