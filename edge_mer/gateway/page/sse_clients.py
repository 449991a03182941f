"""Who looks at the page: one bounded queue of events each. One that does not read loses its own oldest events."""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from edge_mer.contract.services import SERVICES

# 10 s of everything at the rates of normal work.
QUEUED = 200
MOST = 64


def event(topic: str, data: bytes) -> bytes:
    """One server-sent event; ``data`` is JSON in one line."""
    return b"event: " + topic.encode() + b"\ndata: " + data + b"\n\n"


class Viewer:
    """``why``: gets the explanations and nothing else; others get everything else."""

    def __init__(self, why: bool, transport: asyncio.Transport | None) -> None:
        self.why = why
        self._transport = transport
        self.lost = 0
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=QUEUED)
        self._filled = asyncio.Event()

    def put(self, topic: str, framed: bytes) -> None:
        self.lost += len(self._queue) == QUEUED
        self._queue.append((topic, framed))
        self._filled.set()

    def forget(self) -> None:
        """Drop what is derived from a person and was not yet sent; one that does not read is cut off with it."""
        kept = [e for e in self._queue if e[0] not in SERVICES or not SERVICES[e[0]].biometric]
        self._queue.clear()
        self._queue.extend(kept)
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.abort()

    def abort(self) -> None:
        """Close the connection now, with what is in its buffer."""
        if self._transport is not None:
            self._transport.abort()

    async def take(self) -> bytes:
        """All that waits, as one piece; waits for the first."""
        await self._filled.wait()
        self._filled.clear()
        piece = b"".join(framed for _, framed in self._queue)
        self._queue.clear()
        return piece


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
        """None when too many look already. ``transport``: the connection that it reads from."""
        if len(self._all) >= MOST:
            self.counters["viewers_refused"] += 1
            return None
        viewer = Viewer(why, transport)
        self._all.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._all.discard(viewer)
        self.counters["viewer_lost"] += viewer.lost

    def send(self, topic: str, data: bytes) -> None:
        framed = event(topic, data)
        for viewer in self._all:
            if (topic == "explain") == viewer.why:
                viewer.put(topic, framed)

    def forget(self) -> None:
        for viewer in self._all:
            viewer.forget()
