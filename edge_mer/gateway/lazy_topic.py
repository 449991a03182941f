"""A topic that is computed only on request: subscribed here only while an external client is subscribed."""

from __future__ import annotations

from typing import Any

from edge_mer.bus import Bus, Reader
from edge_mer.contract.messages import Message


class LazyTopic:
    """The source (fusion) detects whether a reader exists and computes nothing without one."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus, self._topic = bus, topic
        self._reader: Reader | None = None

    def drain(self, wanted: bool) -> list[Message[Any]]:
        if wanted and self._reader is None:
            self._reader = self._bus.reader(self._topic)
        elif not wanted and self._reader is not None:
            self._reader.close()
            self._reader = None
        return self._reader.drain() if self._reader is not None else []
