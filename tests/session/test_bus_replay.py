"""Replay through the bus: the same digest at any speed, load and order of arrival."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import digest, result_bytes
from edge_mer.session.bus_replay import BusFeed, Follower, follower
from edge_mer.session.player import Speed
from edge_mer.session.reader import Session
from edge_mer.session.verifier import verify
from tests.session.stage import FAKE, busy_run, read_all, remade, rewrite

RUNS = 20
LIMIT = 200_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Different runs with masks, drops, late text, floods, stalls and restarts."""
    folder = tmp_path_factory.mktemp("busy")
    return [busy_run(folder / f"{seed}.mcap", seed) for seed in range(RUNS)]


class Machine:
    """A feed and a follower on a busy machine: ``load`` is the probability that a turn is skipped."""

    def __init__(self, path: Path, speed: Speed, load: float, seed: int) -> None:
        self.session, self.clock, broker = Session(path), FakeClock(), MemoryBroker()
        self.bus = MemoryBus(broker, self.clock, "feed")
        self.feed = BusFeed(self.session, self.bus, speed)
        self.follower: Follower = follower(MemoryBus(broker, self.clock, "follower"), self.session, FAKE)
        self.results = MemoryBus(broker, self.clock, "observer").reader("emotion")
        self.load, self.rng = load, np.random.default_rng(seed)
        self.found: list[str] = []
        trailer = self.session.trailer
        assert trailer is not None
        self.expected = trailer.results

    def run(self) -> str:
        for _ in range(LIMIT):
            wait = 20_000
            if self.rng.random() >= self.load:
                wait = min(wait, self.feed.turn())
            if self.rng.random() >= self.load:
                wait = min(wait, self.follower.turn())
            self.found += [digest(result_bytes(m)) for m in self.results.drain()]
            if self.feed.done and len(self.found) >= self.expected:
                return digest("\n".join(self.found).encode())
            self.clock.advance(max(wait, 1000))
        raise AssertionError("the feed did not end")


@pytest.mark.parametrize("speed", [0.5, 1.0, "max"])
def test_twenty_runs_give_the_digest_of_the_recording(recorded: list[Path], speed: Speed) -> None:
    for number, path in enumerate(recorded):
        trailer = Session(path).trailer
        assert trailer is not None
        assert trailer.unverifiable is None
        assert Machine(path, speed, load=number / RUNS * 0.6, seed=number).run() == trailer.digest, path


def test_runs_contain_masks_floods_restarts_and_late_text(recorded: list[Path]) -> None:
    everything = [m for path in recorded for m in read_all(path)]
    journal = [m for m in everything if m.topic == "journal"]
    assert any(m.body.revision > 0 for m in everything if m.topic == "emotion"), "no late text"
    assert sum(m.body.entry == 0 for m in journal) > RUNS, "no restart of fusion"
    assert any(type(i).__name__ == "PurgeRef" for m in journal for i in m.body.inputs), "no mask"
    assert any(k.endswith(".flood") or k == "tick.missed" for m in journal for k in m.body.drops), "no load"
    assert len({m.envelope.boot for m in everything if m.topic == "feature/audio"}) > 1, "no restart of a worker"
    assert all(verify(path, FAKE).identical for path in recorded)


def test_a_changed_recording_gives_another_digest(recorded: list[Path], tmp_path: Path) -> None:
    def louder(messages: list[Any]) -> Any:
        for m in messages:
            if m.topic == "feature/audio":
                m = remade(type(m)(m.topic, m.envelope, m.body, (m.payload[0] * 2, *m.payload[1:]), m.header))
            yield m

    trailer = Session(recorded[0]).trailer
    assert trailer is not None
    forged = rewrite(recorded[0], tmp_path / "forged.mcap", louder)
    assert Machine(forged, "max", load=0, seed=0).run() != trailer.digest


def test_missing_input_is_named(recorded: list[Path], tmp_path: Path) -> None:
    def drop(messages: list[Any]) -> Any:
        return [m for m in messages if not (m.topic == "feature/video" and m.envelope.seq == 3)]

    forged = rewrite(recorded[0], tmp_path / "forged.mcap", drop)
    with pytest.raises(SessionError, match=r"feature/video 3 .* did not arrive"):
        Machine(forged, "max", load=0, seed=0).run()


def test_feed_waits_for_a_follower(recorded: list[Path]) -> None:
    bus = MemoryBus(MemoryBroker(), FakeClock())
    feed = BusFeed(Session(recorded[0]), bus, "max")
    for _ in range(50):
        assert feed.turn() > 0
    assert not feed.done


def test_feed_at_full_speed_waits_for_a_slow_follower(recorded: list[Path]) -> None:
    machine = Machine(recorded[0], "max", load=0.9, seed=1)
    machine.run()
    assert machine.follower.counters["gap"] == 0
