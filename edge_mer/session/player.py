"""Player: publishes a recorded session on the sockets of the live workers; for readers it is like a live run.

It needs no lease, because it opens no device. Reliable topics are not played: journal and receipts prove what happened
during the recording, not during playback.

Times: at any finite speed every message is stamped as created now. At ``max`` the original spacing of the times is
kept, so that values computed from them stay right.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from pathlib import Path
from typing import Any, Literal

from edge_mer.bus import Bus
from edge_mer.config import Config
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import BadMessage, ConfigError, SessionError
from edge_mer.contract.messages import Envelope, Message
from edge_mer.contract.services import SERVICES
from edge_mer.fusion.journal import RESULTS
from edge_mer.session.keys import key_store
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import ReplayComponents
from edge_mer.session.shift_times import shifted
from edge_mer.session.verifier import refolded

LEAD_US = SECOND // 2  # readers connect to new sockets within a fifth of a second
SLACK_US = 2 * SECOND
BATCH = 16  # at most half of the smallest reader's queue

# Topics that can be computed again from the journal.
RECOMPUTED = frozenset(RESULTS)

Speed = float | Literal["max"]
Timed = tuple[int, Message[Any]]


class Player:
    """A worker. ``played`` is called with every published message; counter ``bad`` counts those that could not be.

    Positions are microseconds from the first message that can be played. ``start_us``, ``end_us``: play only this
    range; ``loop``: repeat it. ``components``: where a modality was erased, estimates are recomputed without it.
    """

    wake: tuple[int, ...] = ()

    def __init__(
        self,
        session: Session,
        bus: Bus,
        speed: Speed = 1.0,
        topics: Collection[str] = (),
        played: Callable[[Message[Any]], None] | None = None,
        *,
        start_us: int = 0,
        end_us: int | None = None,
        loop: bool = False,
        components: ReplayComponents | None = None,
    ) -> None:
        """``topics``: only these. Raises EndpointInUse when a live worker owns the socket of a recorded topic."""
        wanted = {s.topic for s in SERVICES.values() if s.policy == "latest"} & set(topics or SERVICES)
        recorded = (session.topics - session.lost_topics) & wanted
        if not recorded:
            raise SessionError(f"{session.path} holds none of these topics: {', '.join(sorted(wanted))}")
        self._session, self._bus, self._played = session, bus, played
        self._topics, self._components = recorded, components if session.unreadable else None
        first = next(in_order(self._source(None)), None)
        self._origin_us = first[0] if first else 0
        self._start_us, self._end_us, self._loop = start_us, end_us, loop
        if start_us < 0 or (end_us is not None and end_us <= start_us):
            raise ConfigError(f"the range from {start_us / SECOND} s to {(end_us or 0) / SECOND} s is empty")
        self._publishers = {topic: bus.publisher(topic, "player") for topic in sorted(recorded)}
        self.counters: Counter[str] = Counter()
        self.paused = False
        self._instances = self._published = 0
        self._speed: Speed = 1.0
        self._next: Timed | None = None
        self._queue: Iterator[Timed] = iter(())
        self._anchored_us = self._anchor_us = self._reached_us = 0
        self._start_from(start_us, bus.clock.now_us() + LEAD_US)
        self.speed = speed

    # -- controls ----------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self._next is None and not self._loop

    @property
    def position_us(self) -> int:
        if self._speed == "max":
            return self._reached_us - self._origin_us
        if self.paused:
            return self._anchor_us - self._origin_us
        moved = max(0, self._bus.clock.now_us() - self._anchored_us)
        return self._anchor_us + round(moved * self._speed) - self._origin_us

    @property
    def speed(self) -> Speed:
        return self._speed

    @speed.setter
    def speed(self, speed: Speed) -> None:
        if speed != "max" and not 0 < speed < float("inf"):
            raise ConfigError(f"speed must be above 0, or max; got {speed}")
        self._anchor(max(self._anchored_us, self._bus.clock.now_us()))
        self._speed = speed

    def pause(self) -> None:
        if not self.paused:
            self._anchor(self._bus.clock.now_us())
            self.paused = True

    def resume(self) -> None:
        if self.paused:
            self._anchored_us, self.paused = self._bus.clock.now_us(), False

    def seek(self, position_us: int) -> None:
        """Continue from there. Every source gets a new instance id, so that readers accept repeated messages."""
        end = self._end_us if self._end_us is not None else self._session.span_us[1] - self._origin_us
        self._instances += 1
        self._published = 1  # the loop continues, even if the rest of this round is empty
        self._start_from(min(max(position_us, self._start_us), max(end, self._start_us)), self._bus.clock.now_us())

    # -- the loop ----------------------------------------------------------------------------------------------

    def turn(self) -> int:
        if self.paused:
            return SECOND
        now = self._bus.clock.now_us()
        for _ in range(BATCH):
            if self._next is None and self._loop and self._published:
                self.seek(self._start_us)
                self._published = 0  # a whole round without a message ends the loop
            if self._next is None:
                self._loop = False
                return SECOND
            due = self._due_us(self._next[0])
            if due > now:
                return due - now
            self._publish(*self._next)
            self._published += 1
            if self._speed == "max":
                self._reached_us = self._next[0]
            self._next = next(self._queue, None)
        return 0

    def close(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()

    def _start_from(self, position_us: int, at_us: int) -> None:
        """``at_us``: when the message at the position is due."""
        begin = self._origin_us + position_us
        end = None if self._end_us is None else self._origin_us + self._end_us
        self._queue = within(in_order(self._source(begin)), begin, end)
        self._next = next(self._queue, None)
        self._anchored_us, self._anchor_us = at_us, begin
        self._reached_us = begin

    def _anchor(self, at_us: int) -> None:
        """Relate position and clock anew, before speed or pause changes."""
        self._anchor_us, self._anchored_us = self._origin_us + self.position_us, at_us

    def _due_us(self, made_us: int) -> int:
        if self._speed == "max":
            return self._anchored_us
        return self._anchored_us + round((made_us - self._anchor_us) / self._speed)

    def _publish(self, made_us: int, message: Message[Any]) -> None:
        shift = (self._anchored_us - self._anchor_us) if self._speed == "max" else self._due_us(made_us) - made_us
        instance = f"{self._bus.boot} {self._instances}" if self._instances else self._bus.boot
        try:
            sent = self._publishers[message.topic].forward(shifted(message, shift, instance))
        except BadMessage:
            self.counters["bad"] += 1
            return
        self.counters["played"] += 1
        if self._played is not None:
            self._played(sent)

    def _source(self, begin_us: int | None) -> Iterator[Timed]:
        if self._components is None:
            return self._session.timed(*self._topics, start_us=begin_us)
        again = self._topics & RECOMPUTED
        kept = self._topics - RECOMPUTED - {"explain"}
        return heapq.merge(
            self._session.timed(*kept, start_us=begin_us) if kept else iter(()),
            replayed_results(self._session, self._components, again) if again else iter(()),
            key=lambda item: item[0],
        )


def replayed_results(session: Session, components: ReplayComponents, topics: Set[str] = RECOMPUTED) -> Iterator[Timed]:
    """The estimates and events of a session, recomputed from the part of it that can be read."""
    counts: Counter[str] = Counter()
    for entry, replayed in refolded(session, components):
        recorded = entry.envelope
        for topic, origin_us, body in replayed.results:
            if topic not in topics:
                continue
            row = SERVICES[topic]
            envelope = Envelope(
                schema=row.schema,
                source=recorded.source,
                boot=recorded.boot,
                seq=counts[topic],
                origin_us=origin_us,
                created_us=recorded.created_us,
            )
            frames = wire.encode(row.topic, envelope, body)
            yield recorded.created_us, wire.decode(row.topic, row.body, row.version, row.max_bytes, frames)
            counts[topic] += 1


def in_order(messages: Iterable[Timed]) -> Iterator[Timed]:
    """Sorted by creation time; the recorder may have received them up to ``SLACK_US`` later.

    Takes (time of recording, message). An impossible creation time is moved to the nearest possible one.
    """
    heap: list[tuple[int, int, Message[Any]]] = []
    newest = 0
    for number, (logged, message) in enumerate(messages):
        made = min(max(message.envelope.created_us, logged - SLACK_US), logged)
        heapq.heappush(heap, (made, number, message))
        newest = max(newest, made)
        while heap and heap[0][0] < newest - SLACK_US:
            made, _, earliest = heapq.heappop(heap)
            yield made, earliest
    while heap:
        made, _, earliest = heapq.heappop(heap)
        yield made, earliest


def within(messages: Iterator[Timed], begin_us: int, end_us: int | None) -> Iterator[Timed]:
    for made, message in messages:
        if end_us is not None and made >= end_us:
            return
        if made >= begin_us:
            yield made, message


def build(config: Config, bus: Bus) -> Player:
    """Play ``replay.topics`` of ``replay.path`` at ``replay.speed``."""
    if config.replay.path is None:
        raise SessionError("replay.path is not set; set it, or use: edge-mer replay FILE")
    session = Session(Path(config.replay.path), key_store(config))
    return Player(session, bus, config.replay.speed, config.replay.topics, components=components_for(session, config))


def components_for(session: Session, config: Config) -> ReplayComponents | None:
    """The configured models, where a modality was erased and estimates have to be recomputed."""
    if not session.unreadable:
        return None
    from edge_mer.session.replay_components import installed

    return installed(config)
