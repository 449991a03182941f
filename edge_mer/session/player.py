"""Player: publishes a recorded session on the sockets of the live workers; no reader can tell the difference.

It needs no lease, because it opens no device. The reliable topics stay in the file: journal and receipts prove
what happened then, and would prove nothing if they were said again.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from edge_mer.bus import Bus
from edge_mer.clock import SECOND
from edge_mer.config import Config
from edge_mer.errors import BadMessage, ConfigError, SessionError
from edge_mer.messages import Message
from edge_mer.services import SERVICES
from edge_mer.session.reader import Session
from edge_mer.session.retime import retimed

LEAD_US = SECOND // 2  # readers find new sockets within a fifth of a second
SLACK_US = 2 * SECOND
BATCH = 16  # at most half of what the smallest reader holds

Speed = float | Literal["max"]


class Player:
    """A worker. ``played`` is called with every message that goes out; ``bad`` counts what could not."""

    wake: tuple[int, ...] = ()

    def __init__(self, session: Session, bus: Bus, speed: Speed = 1.0, topics: Collection[str] = (),
                 played: Callable[[Message[Any]], None] | None = None) -> None:  # fmt: skip
        """``topics``: only these. Raises EndpointInUse when a live worker owns the socket of a recorded topic."""
        if speed != "max" and not speed > 0:
            raise ConfigError(f"speed must be above 0, or max; got {speed}")
        wanted = {s.topic for s in SERVICES.values() if s.policy == "latest"} & set(topics or SERVICES)
        recorded = session.topics & wanted
        if not recorded:
            raise SessionError(f"{session.path} holds nothing to play of: {', '.join(sorted(wanted))}")
        self._bus, self._speed, self._played = bus, speed, played
        self._publishers = {topic: bus.publisher(topic, "player") for topic in sorted(recorded)}
        self._queue = in_order(session.messages(*recorded))
        self._next: Message[Any] | None = next(self._queue, None)
        self._first_us = self._next.envelope.created_us if self._next else 0
        self._start_us = bus.clock.now_us() + LEAD_US
        self.counters: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        return self._next is None

    def turn(self) -> int:
        now = self._bus.clock.now_us()
        for _ in range(BATCH):
            if self._next is None:
                return SECOND
            due = self._due_us(self._next)
            if due > now:
                return due - now
            self._publish(self._next)
            self._next = next(self._queue, None)
        return 0

    def _due_us(self, message: Message[Any]) -> int:
        if self._speed == "max":
            return self._start_us
        return self._start_us + round((message.envelope.created_us - self._first_us) / self._speed)

    def _publish(self, message: Message[Any]) -> None:
        shift = self._start_us - self._first_us
        try:
            sent = self._publishers[message.topic].forward(retimed(message, shift, self._bus.boot))
        except (BadMessage, OverflowError):
            self.counters["bad"] += 1
            return
        self.counters["played"] += 1
        if self._played is not None:
            self._played(sent)

    def close(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()


def in_order(messages: Iterable[Message[Any]]) -> Iterator[Message[Any]]:
    """By the time they were made; the recorder may have taken them up to ``SLACK_US`` later."""
    heap: list[tuple[int, int, Message[Any]]] = []
    newest = 0
    for number, message in enumerate(messages):
        created = message.envelope.created_us
        heapq.heappush(heap, (created, number, message))
        newest = max(newest, created)
        while heap and heap[0][0] < newest - SLACK_US:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def build(config: Config, bus: Bus) -> Player:
    """Play ``replay.topics`` of ``replay.path`` at ``replay.speed``."""
    if config.replay.path is None:
        raise SessionError("nothing to play; set replay.path, or use: edge-mer replay FILE")
    return Player(Session(Path(config.replay.path)), bus, config.replay.speed, config.replay.topics)
