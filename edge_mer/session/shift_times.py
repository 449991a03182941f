"""Moves a recorded message to now: every time in it by the same amount, and a new life for its source.

A reader drops repeated sequence numbers of one life, so each playing of a session is a life of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Message, digest

DURATIONS = frozenset({"age_us", "uncertainty_us"})
BOOTS = frozenset({"boot", "raw_boot"})


def retimed(message: Message[Any], shift_us: int, life: str) -> list[bytes]:
    """Wire frames of ``message``, ``shift_us`` later. Its wall time, seen through ``clock``, stays.

    Raises BadMessage for what cannot be moved: a reader of it would stumble as well.
    """
    try:
        fields = _moved(msgspec.json.decode(message.header), shift_us, life)
        payload = list(message.payload)
        if message.topic.startswith("feature/"):  # values, start_us, end_us, valid
            payload[1:3] = [times + np.int64(shift_us) for times in payload[1:3]]
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError, TypeError) as error:
        raise BadMessage(f"{message.topic}: {error}") from error
    return [message.topic.encode(), msgspec.json.encode(fields), *(a.tobytes() for a in payload)]


def _moved(value: Any, shift_us: int, life: str) -> Any:
    if isinstance(value, dict):
        return {k: _field(k, v, shift_us, life) for k, v in value.items()}
    if isinstance(value, list):
        return [_moved(v, shift_us, life) for v in value]
    return value


def _field(name: str, value: Any, shift_us: int, life: str) -> Any:
    if name == "offset_us":
        return value - shift_us
    if name.endswith("_us") and name not in DURATIONS and isinstance(value, int):
        return value + shift_us
    if name in BOOTS and isinstance(value, str):
        return digest(f"{life} {value}".encode())[:12]
    return _moved(value, shift_us, life)
