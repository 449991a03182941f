"""What each message gets when it leaves the host: the room, and the wall time of its ``origin_us``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_mer.contract.clock import utc
from edge_mer.contract.messages import ClockReport, Message


class _Marks(Struct, frozen=True):
    room: str
    time: str | UnsetType


class Stamp:
    """``room``: the setting ``run.room`` or the host name. Times need a message of topic ``clock``: see ``observe``."""

    def __init__(self, room: str) -> None:
        self.room = room
        self._offset_us: int | None = None

    def observe(self, message: Message[Any]) -> None:
        """Take the offset to wall time from a message of topic ``clock``; others change nothing."""
        if isinstance(message.body, ClockReport):
            self._offset_us = message.body.offset_us

    def time(self, at_us: int) -> str | UnsetType:
        """Monotonic ``at_us`` as RFC 3339 in UTC. UNSET before the first ``clock`` and beyond the calendar."""
        try:
            return UNSET if self._offset_us is None else utc(at_us + self._offset_us)
        except (ValueError, OverflowError, OSError):
            return UNSET

    def __call__(self, message: Message[Any]) -> Message[Any]:
        """The message with both in its envelope and its header."""
        marks = _Marks(self.room, self.time(message.envelope.origin_us))
        envelope = msgspec.structs.replace(message.envelope, room=marks.room, time=marks.time)
        header = message.header[:-1] + b"," + msgspec.json.encode(marks)[1:]
        return Message(message.topic, envelope, message.body, message.payload, header)
