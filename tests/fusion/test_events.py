"""Events of the fusion node: published, journalled, replayed byte for byte, ended by a mask, corrected by the user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus, ReliableReader
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.domain import COMBINATIONS, MODALITIES
from edge_mer.contract.messages import CorrectionRef, EventChange, Message, digest, result_bytes
from edge_mer.events import corrections
from edge_mer.events.evidence import Ratio
from edge_mer.events.settings import EventSettings, Rule
from edge_mer.fusion.node import FusionNode
from tests.fusion.scene import HashModel
from tests.fusion.test_node import RUNTIME, FusionStage, order_purge, play

# The random probabilities of the model give evidence that comes and goes.
SHAKY = {c: Ratio(3.6, 2.0, -4.0, 4.0) for c in COMBINATIONS}
STEADY = {c: Ratio(2.0, 0.0, -4.0, 4.0) for c in COMBINATIONS}
RULES = {c: Rule(1.0, 24.0, 0.001) for c in COMBINATIONS}
EVENTS = EventSettings(
    hop_us=SECOND // 2,
    weight=0.5,
    minimum_us=SECOND // 2,
    gap_us=SECOND,
    ratios={"angry": SHAKY, "sad": STEADY, "happy": SHAKY},
    rules={"angry": RULES, "sad": RULES, "happy": RULES},
)


class EventStage(FusionStage):
    """A node with events, and a reader of them."""

    def start(self) -> None:
        self.events = ReliableReader(self.bus, "event")
        self.changes: list[Message[EventChange]] = []
        self.node_bus = MemoryBus(self.broker, self.clock)
        self.node = FusionNode(self.node_bus, self.config, HashModel(), RUNTIME, events=EVENTS)

    config = Config()

    def turn(self) -> None:
        super().turn()
        self.changes += self.events.drain()
        self.node.turn()
        self.changes += self.events.drain()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[EventStage]:
    class Here(EventStage):
        config = Config.model_validate({"privacy": {"state": str(tmp_path)}})

    stage = Here(FakeClock(), MemoryBroker())
    yield stage
    stage.node_bus.close()
    stage.bus.close()


def test_events_replay_byte_for_byte_from_the_journal(stage: EventStage) -> None:
    play(stage)
    stage.turn()
    replayed = stage.replayed()
    live = [digest(result_bytes(m)) for m in stage.changes]
    assert {m.body.phase for m in stage.changes} == {"begin", "end"}
    again = [r.digest for entry in replayed for r in entry.results if r.topic == "event"]
    assert again == live
    assert [d for r in replayed for d in r.digests] == [d for e in stage.entries for d in e.body.results]


def test_a_mask_ends_events_at_once_and_deletes_those_that_are_kept(stage: EventStage) -> None:
    for _ in range(12):
        stage.hop("audio")
    opened = {m.body.event for m in stage.changes} - {m.body.event for m in stage.changes if m.body.phase == "end"}
    assert opened
    seen = len(stage.changes)
    order_purge(stage, "audio", 3)
    stage.turn()
    ended = [m.body for m in stage.changes[seen:]]
    assert {e.event for e in ended} == opened
    assert {(e.phase, e.reason, e.mask_epoch) for e in ended} == {("end", "masked", 3)}
    late = ReliableReader(stage.bus, "event")
    for _ in range(20):
        stage.clock.advance(SECOND)
        late.drain()
        stage.node.turn()
    assert {m.body.mask_epoch for m in late.drain()} <= {3}
    stage.entries += stage.journal.drain()
    assert [d for r in stage.replayed() for d in r.digests] == [d for e in stage.entries for d in e.body.results]


def test_a_correction_is_journalled_and_replayed(stage: EventStage, tmp_path: Path) -> None:
    for i in range(4):
        corrections.wrong(tmp_path, f"sad-a-{i}")
    for _ in range(10):
        stage.hop("audio")
    refs = [ref for e in stage.entries for ref in e.body.inputs if isinstance(ref, CorrectionRef)]
    assert refs == [CorrectionRef({"sad/a": corrections.STEP**4})]
    thresholds = [m.body.threshold for m in stage.changes if m.body.label == "sad" and m.body.phase == "begin"]
    assert thresholds[-1] == pytest.approx(corrections.STEP**4)
    assert [d for r in stage.replayed() for d in r.digests] == [d for e in stage.entries for d in e.body.results]


def test_events_change_no_estimate(stage: EventStage) -> None:
    plain = FusionStage(FakeClock(), MemoryBroker())
    play(plain)
    play(stage)
    bare = [msgspec.structs.replace(m.body, latency_ms=plain.results[0].body.latency_ms) for m in stage.results]
    assert bare == [msgspec.structs.replace(m.body, latency_ms=plain.results[0].body.latency_ms) for m in plain.results]


def test_a_session_without_events_opens_without_them(stage: EventStage) -> None:
    plain = FusionStage(FakeClock(), MemoryBroker())
    plain.hop(*MODALITIES)
    assert '"events":null' in (plain.entries[0].body.opening or "")
    assert not [r for r in plain.replayed()[1].results if r.topic == "event"]
