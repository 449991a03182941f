"""Replays a recorded session through the bus: a feed republishes it with its original timing, a follower folds it.

The feed publishes the inputs of fusion on their sockets, with their original times and instance ids, and the journal on
its own topic. The follower is a fusion node that takes the order of inputs from the journal instead of a clock: at any
speed, load and order of arrival, its results must be those of the recording.
"""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from typing import Any

import msgspec

from edge_mer.bus import Bus, ReliablePublisher, ReliableReader
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import BadMessage, SessionError
from edge_mer.contract.messages import Estimate, EventChange, InputRef, Journal, Message
from edge_mer.contract.services import SERVICES
from edge_mer.fusion.journal import RESULTS, purged_inputs
from edge_mer.fusion.node import TOPICS
from edge_mer.fusion.replay import Refold
from edge_mer.session.completeness import name
from edge_mer.session.keys import key_store
from edge_mer.session.player import BATCH, Speed, in_order
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import ReplayComponents, installed

LEAD_US = SECOND  # time for sockets to connect, also on a busy machine
AHEAD = 4  # entries that the follower may lag behind at full speed: their inputs fit into the smallest queue
INPUT_TIMEOUT_US = 10 * SECOND
HOLD_US = 60 * SECOND


class BusFeed:
    """A worker. Starts when a follower is connected; ``done`` is True once the follower has received everything."""

    wake: tuple[int, ...] = ()

    def __init__(self, session: Session, bus: Bus, speed: Speed) -> None:
        self._clock, self._speed = bus.clock, speed
        recorded = [t for t in TOPICS if t in session.topics - session.lost_topics]
        self._publishers = {t: bus.publisher(t, "feed") for t in recorded}
        self._journal = ReliablePublisher(bus, "journal", "feed")
        self._queue = in_order(session.timed(*recorded, "journal"))
        self._next = next(self._queue, None)
        self._first_us = self._next[0] if self._next else 0
        self._start_us: int | None = None
        self.counters: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        return self._next is None and self._journal.behind == 0

    def turn(self) -> int:
        self._journal.pump()
        now = self._clock.now_us()
        if self._start_us is None:
            if self._journal.behind is None:
                return SECOND // 20
            self._start_us = now + LEAD_US
        for _ in range(BATCH):
            if self._next is None:
                return SECOND // 20
            due = self._due_us(self._next[0])
            if due > now:
                return min(due - now, SECOND // 20)
            if self._speed == "max" and (self._journal.behind or 0) > AHEAD:
                return SECOND // 100
            self._publish(self._next[1])
            self._next = next(self._queue, None)
        return 0

    def close(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()
        self._journal.close()

    def _due_us(self, made_us: int) -> int:
        assert self._start_us is not None
        return self._start_us + (0 if self._speed == "max" else round((made_us - self._first_us) / self._speed))

    def _publish(self, message: Message[Any]) -> None:
        if message.topic == "journal":
            self._journal.send(message.body, origin_us=message.envelope.origin_us)
            return
        try:
            frames = [message.topic.encode(), message.header, *(a.tobytes() for a in message.payload)]
            self._publishers[message.topic].forward(frames)
        except BadMessage:
            self.counters["bad"] += 1


LATEST = tuple(t for t in RESULTS if SERVICES[t].policy == "latest")


class Follower:
    """A worker. Publishes the results of every entry as soon as all its inputs have arrived."""

    wake: tuple[int, ...] = ()

    def __init__(self, bus: Bus, refold: Refold, without: frozenset[str]) -> None:
        self._clock, self._refold, self._without = bus.clock, refold, without
        self._reader = bus.reader(*TOPICS)
        self._journal = ReliableReader(bus, "journal")
        self._latest = {topic: bus.publisher(topic, "fusion") for topic in LATEST}
        self._events = ReliablePublisher(bus, "event", "fusion")
        self._inputs: dict[InputRef, tuple[int, Message[Any]]] = {}
        self._entries: deque[Message[Journal]] = deque()
        self._waiting_us: int | None = None
        self._instances = 0
        self._own: Counter[str] = Counter()

    @property
    def counters(self) -> Counter[str]:
        return self._own + self._reader.counters + self._journal.counters

    def turn(self) -> int:
        """Raises SessionError when the journal is inconsistent, or an input did not arrive."""
        now = self._clock.now_us()
        # Entries that are not drained are not acknowledged, so that a feed at full speed waits.
        for message in () if self._entries else self._journal.drain():
            self._instances += message.body.entry == 0
            envelope = msgspec.structs.replace(message.envelope, boot=f"{message.envelope.boot} {self._instances}")
            self._entries.append(msgspec.structs.replace(message, envelope=envelope))
        for message in self._reader.drain():
            self._inputs[message.ref] = (now, message)
        while self._entries:
            if (missing := self._missing(self._entries[0].body)) is not None:
                self._waiting_us = self._waiting_us or now
                if now - self._waiting_us > INPUT_TIMEOUT_US:
                    raise SessionError(f"{name(missing)} of journal entry {self._entries[0].body.entry} did not arrive")
                return SECOND // 100
            self._waiting_us = None
            self._fold(self._entries.popleft(), now)
        return SECOND // 50

    def close(self) -> None:
        self._journal.close()

    def _missing(self, entry: Journal) -> InputRef | None:
        """The first input that has not arrived; inputs that a purge removed are not needed."""
        purged = purged_inputs(entry.inputs)
        refs = (r for r in entry.inputs if isinstance(r, InputRef) and r not in purged and r.topic not in self._without)
        return next((r for r in refs if r not in self._inputs), None)

    def _fold(self, message: Message[Journal], now: int) -> None:
        again = self._refold.entry(message, lambda ref: self._inputs[ref][1] if ref in self._inputs else None)
        for ref in message.body.inputs:
            if isinstance(ref, InputRef):
                self._inputs.pop(ref, None)
        self._inputs = {r: held for r, held in self._inputs.items() if now - held[0] < HOLD_US}
        for result in again.results:
            self._own["results"] += isinstance(result.body, Estimate)
            if isinstance(result.body, EventChange):
                self._events.send(result.body, origin_us=result.origin_us)
            else:
                self._latest[result.topic].send(result.body, origin_us=result.origin_us)


def follower(bus: Bus, session: Session, components: ReplayComponents) -> Follower:
    """Raises SessionError for a session that joined a running node: only ``verify`` finds where it is in step."""
    if session.opening is None or session.opening.joined:
        raise SessionError(f"{session.path} joined a running fusion node; verify it without --speed")
    return Follower(bus, Refold(components.fusion, session.lost_topics), session.lost_topics)


def build(config: Config, bus: Bus) -> Follower:
    """Follow the journal of ``replay.path`` as a feed publishes it."""
    if config.replay.path is None:
        raise SessionError("replay.path is not set; set it to the session to follow")
    return follower(bus, Session(Path(config.replay.path), key_store(config)), installed(config))
