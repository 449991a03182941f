"""pytest plug-in: test your automation on recorded sessions, without devices, sockets or waiting. No import is needed.

``replay_session`` replays a session with this version, and fails the test when the results differ from the recording::

    def test_lamp_dims_for_sad_estimates(replay_session):
        lamp = Lamp()
        for message in replay_session("evening.mcap").messages("emotion"):
            lamp.on_estimate(message.body)
        assert lamp.dimmed

``session_stage`` plays a session on a bus with a fake clock, and can inject faults::

    def test_lamp_stays_safe_on_a_lossy_bus(session_stage):
        lamp, faults = Lamp(), session_stage.faults
        faults.drop("emotion", 0.3)
        faults.delay("emotion", 2.0)
        session_stage.listen("emotion", lambda message: lamp.on_estimate(message.body))
        session_stage.play("evening.mcap")
        assert faults.done["emotion dropped"] > 0
        assert lamp.is_safe

``fake_clock`` is the clock of the stage: only the test or the stage advances it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from edge_mer.contract.clock import SECOND, FakeClock

# Other imports are local, because every pytest run on this host loads this file.
if TYPE_CHECKING:
    from edge_mer.bus import MemoryBroker, MemoryBus, Reader
    from edge_mer.config import Config
    from edge_mer.contract.messages import Message
    from edge_mer.session.player import Player, Speed
    from edge_mer.session.reader import Session
    from edge_mer.session.verifier import Report

__all__ = ["FakeClock", "Faults", "Replay", "Stage", "fake_clock", "replay", "replay_session", "session_stage"]


class Replay:
    """A session and its ``report``. ``messages`` are in the order of their creation."""

    def __init__(self, session: Session, config: Config, report: Report) -> None:
        self.session, self.report = session, report
        self._config = config

    def messages(self, *topics: str) -> Iterator[Message[Any]]:
        """Estimates and events are those of this version, others as recorded. Without ``topics``, all of them."""
        from edge_mer.contract.services import SERVICES
        from edge_mer.session.player import RECOMPUTED, in_order, replayed_results
        from edge_mer.session.replay_components import installed

        kept = [t for t in topics or SERVICES if t not in RECOMPUTED]
        parts = [in_order(self.session.timed(*kept))] if kept else []
        if again := RECOMPUTED & set(topics or SERVICES):
            parts.append(replayed_results(self.session, installed(self._config), again))
        return (message for _, message in heapq.merge(*parts, key=lambda item: item[0]))


def replay(path: str | Path, config: Config | None = None) -> Replay:
    """Replay a session. Fails the test, naming the differences, when a result differs from the recording.

    An erased modality is not a failure: the session is replayed without it. ``config``: default is the user's own.
    """
    from edge_mer.config import load
    from edge_mer.session.keys import key_store
    from edge_mer.session.reader import Session
    from edge_mer.session.replay_components import installed
    from edge_mer.session.verifier import verify

    config = config or load()[0]
    keys = key_store(config)
    report = verify(Path(path), installed(config), keys)
    if not (report.equal or report.erased):
        found = "".join(f"\n  {d.field}: recorded {d.recorded}, replayed {d.replayed}" for d in report.differences)
        pytest.fail(f"{path} does not replay: {report.reason}{found}", pytrace=False)
    return Replay(Session(Path(path), keys), config, report)


class Faults:
    """Injected faults per topic; ``done`` counts them. The same ``seed`` gives the same faults."""

    def __init__(self, broker: MemoryBroker, clock: FakeClock, seed: int = 0) -> None:
        self.done: Counter[str] = Counter()
        self._clock, self._rng = clock, Random(seed)
        self._deliver, broker.inject = broker.inject, self._inject  # type: ignore[method-assign]
        self._shares: dict[tuple[str, str], float] = {}
        self._delays: dict[str, int] = {}
        self._held: list[tuple[int, int, str, list[bytes]]] = []
        self._count = 0

    def drop(self, topic: str, share: float) -> None:
        """Drop this fraction of the messages."""
        self._shares["dropped", topic] = share

    def duplicate(self, topic: str, share: float) -> None:
        self._shares["duplicated", topic] = share

    def corrupt(self, topic: str, share: float) -> None:
        """Change one byte of the header."""
        self._shares["corrupted", topic] = share

    def delay(self, topic: str, seconds: float) -> None:
        """Delay every message by this time; 0 ends the delay for later messages."""
        self._delays[topic] = round(seconds * SECOND)

    def turn(self) -> None:
        """Deliver the messages whose delay has passed."""
        now = self._clock.now_us()
        while self._held and self._held[0][0] <= now:
            _, _, topic, frames = heapq.heappop(self._held)
            self._deliver(topic, frames)

    def _happens(self, fault: str, topic: str) -> bool:
        happens = self._rng.random() < self._shares.get((fault, topic), 0.0)
        self.done[f"{topic} {fault}"] += happens
        return happens

    def _inject(self, topic: str, frames: list[bytes]) -> None:
        if self._happens("dropped", topic):
            return
        if self._happens("corrupted", topic):
            header = bytearray(frames[1])
            header[self._rng.randrange(len(header))] ^= 0xFF
            frames = [frames[0], bytes(header), *frames[2:]]
        for _ in range(1 + self._happens("duplicated", topic)):
            if delay := self._delays.get(topic, 0):
                self._count += 1
                self.done[f"{topic} delayed"] += 1
                heapq.heappush(self._held, (self._clock.now_us() + delay, self._count, topic, frames))
            else:
                self._deliver(topic, frames)


class Stage:
    """A bus in memory with a fake clock. ``bus(name)`` is the bus of one process; closing it acts like kill -9."""

    def __init__(self, clock: FakeClock) -> None:
        from edge_mer.bus import MemoryBroker

        self.clock, self.broker = clock, MemoryBroker()
        self.faults = Faults(self.broker, clock)
        self.workers: list[Any] = []
        self._listeners: list[tuple[Reader, Callable[[Message[Any]], object]]] = []

    def bus(self, name: str = "") -> MemoryBus:
        from edge_mer.bus import MemoryBus

        return MemoryBus(self.broker, self.clock, name)

    def listen(self, topic: str, callback: Callable[[Message[Any]], object]) -> Reader:
        """Call ``callback`` with every valid message; the reader counts the others."""
        reader = self.bus().reader(topic)
        self._listeners.append((reader, callback))
        return reader

    def run(self, seconds: float, step_us: int = SECOND // 50) -> None:
        """Advance the time; all ``workers`` get turns, and listeners get their messages."""
        end = self.clock.now_us() + round(seconds * SECOND)
        while self.clock.now_us() < end:
            self._turn()
            self.clock.advance(min(step_us, end - self.clock.now_us()))
        self._turn()

    def play(self, path: str | Path, speed: Speed = 1.0, topics: tuple[str, ...] = (), linger_s: float = 5.0) -> Player:
        """Play a session to its end and ``linger_s`` longer; returns the player with its counters."""
        from edge_mer.config import load
        from edge_mer.session.keys import key_store
        from edge_mer.session.player import Player, components_for
        from edge_mer.session.reader import Session

        config = load()[0]
        session = Session(Path(path), key_store(config))
        player = Player(session, self.bus("player"), speed, topics, components=components_for(session, config))
        while not player.done:
            wait = player.turn()
            self._turn()
            self.clock.advance(min(wait, SECOND // 50))
        self.run(linger_s)
        player.close()
        return player

    def _turn(self) -> None:
        self.faults.turn()
        for worker in self.workers:
            worker.turn()
        for reader, callback in self._listeners:
            for message in reader.drain():
                callback(message)


@pytest.fixture
def replay_session() -> Callable[..., Replay]:
    """``replay_session(path)`` replays a session; the test fails when the results differ."""
    return replay


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that only the test advances."""
    return FakeClock()


@pytest.fixture
def session_stage(fake_clock: FakeClock) -> Stage:
    """A bus in memory on ``fake_clock``, with injectable faults."""
    return Stage(fake_clock)
