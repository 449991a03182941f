"""Viewers of the page: one bounded queue of messages each. A viewer that does not read loses its oldest messages."""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from edge_mer.gateway.public_message import PublicMessage

# 10 s of all topics at normal rates.
QUEUED = 200
MOST = 64
KEEPALIVE = b": still here\n\n"


def event(topic: str, data: bytes | bytearray) -> bytes:
    """One server-sent event; ``data`` is JSON in one line."""
    return b"event: " + topic.encode() + b"\ndata: " + data + b"\n\n"


class Viewer:
    """``why``: this viewer gets explanations only; other viewers get everything else."""

    def __init__(self, why: bool, transport: asyncio.Transport | None) -> None:
        self.why = why
        self._transport = transport
        self.lost = 0
        self._queue: deque[PublicMessage] = deque(maxlen=QUEUED)
        self._filled = asyncio.Event()

    def put(self, message: PublicMessage) -> None:
        self.lost += len(self._queue) == QUEUED
        self._queue.append(message)
        self._filled.set()

    def forget(self) -> None:
        """Drop messages that a mask has revoked; disconnect a viewer whose buffer still holds unread data."""
        self._queue = deque((m for m in self._queue if not m.revoked), QUEUED)
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.abort()

    def abort(self) -> None:
        """Close the connection now and discard its buffer."""
        if self._transport is not None:
            self._transport.abort()

    async def filled(self) -> None:
        """Wait until a message is queued."""
        await self._filled.wait()

    def take(self) -> bytes:
        """All queued messages as one block of bytes; a comment when there are none."""
        self._filled.clear()
        block = b"".join(event(m.topic, m.json) for m in self._queue)
        self._queue.clear()
        return block or KEEPALIVE


class Viewers:
    """``counters``: events ``lost`` by viewers that did not read."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._all: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def why(self) -> bool:
        return any(v.why for v in self._all)

    def join(self, why: bool, transport: asyncio.Transport | None = None) -> Viewer | None:
        """A new viewer, or None when there are too many. ``transport``: its connection."""
        if len(self._all) >= MOST:
            self.counters["viewers_refused"] += 1
            return None
        viewer = Viewer(why, transport)
        self._all.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._all.discard(viewer)
        self.counters["viewer_lost"] += viewer.lost

    def send(self, message: PublicMessage) -> None:
        for viewer in self._all:
            if (message.topic == "explain") == viewer.why:
                viewer.put(message)

    def forget(self) -> None:
        for viewer in self._all:
            viewer.forget()
