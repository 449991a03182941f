"""The wire form of a message: ``topic | JSON header | payload frames``, checked on both sides.

The header is one flat object of envelope and body fields, easy to read in a shell script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import ArraySpec, B, Body, Envelope, Message, schema_name

_ENVELOPE = msgspec.json.Decoder(Envelope)
_ENCODER = msgspec.json.Encoder()
DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("float32", "int16", "int64", "uint8")}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def specs_of(payload: Sequence[NDArray[Any]]) -> tuple[ArraySpec, ...]:
    """The payload description of an envelope."""
    return tuple([ArraySpec(_NAMES.get(a.dtype) or a.dtype.name, a.shape) for a in payload])


def encode(topic: str, envelope: Envelope, body: Body, payload: Sequence[NDArray[Any]] = ()) -> list[bytes]:
    """Wire frames of one message. Raises BadMessage for NaN or Inf: they never leave a worker."""
    for array in payload:
        if array.dtype not in _NAMES:
            raise BadMessage(f"{topic}: payload dtype {array.dtype.name!r}, expected {', '.join(DTYPES)}")
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
    """Check and decode untrusted wire frames. Raises BadMessage naming the error."""
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
    """Whether a body has float fields; only those bodies are checked for NaN before they are sent."""
    return b'"number"' in _ENCODER.encode(msgspec.json.schema(body))


def _array(topic: str, spec: ArraySpec, frame: bytes) -> NDArray[Any]:
    dtype = DTYPES.get(spec.dtype)
    if dtype is None:
        raise BadMessage(f"{topic}: payload dtype {spec.dtype!r}, expected {', '.join(DTYPES)}")
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
