"""Moves a recorded message to now: shifts all its times by the same amount, and gives its source a new instance id.

A reader drops repeated sequence numbers of one instance, so each playback of a session has its own instance ids.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Message, digest

DURATIONS = frozenset({"age_us", "uncertainty_us"})
BOOTS = frozenset({"boot", "raw_boot"})


def shifted(message: Message[Any], shift_us: int, instance: str) -> list[bytes]:
    """Wire frames of ``message``, ``shift_us`` later. Its wall time, computed with ``clock``, stays the same.

    Raises BadMessage for a message that cannot be moved; readers could not decode it either.
    """
    try:
        fields = _shifted(msgspec.json.decode(message.header), shift_us, instance)
        payload = list(message.payload)
        if message.topic.startswith("feature/"):  # values, start_us, end_us, valid
            payload[1:3] = [times + np.int64(shift_us) for times in payload[1:3]]
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError, TypeError) as error:
        raise BadMessage(f"{message.topic}: {error}") from error
    return [message.topic.encode(), msgspec.json.encode(fields), *(a.tobytes() for a in payload)]


def _shifted(value: Any, shift_us: int, instance: str) -> Any:
    if isinstance(value, dict):
        return {k: _field(k, v, shift_us, instance) for k, v in value.items()}
    if isinstance(value, list):
        return [_shifted(v, shift_us, instance) for v in value]
    return value


def _field(name: str, value: Any, shift_us: int, instance: str) -> Any:
    if name == "offset_us":
        return value - shift_us
    if name.endswith("_us") and name not in DURATIONS and isinstance(value, int):
        return value + shift_us
    if name in BOOTS and isinstance(value, str):
        return digest(f"{instance} {value}".encode())[:12]
    return _shifted(value, shift_us, instance)
