"""The fusion node on the in-memory bus: its results, its handling of faults, and the replay of its journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus, ReliableReader
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Purge, Purged, Register
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import InputRef, Journal, Message, digest, result_bytes
from edge_mer.fusion.node import TOPICS, FusionNode
from edge_mer.fusion.replay import Replayed, replay
from tests.fusion.scene import RATE, HashModel, sensor, tokens

RUNTIME = {"backend": "test", "threads": "1"}


@dataclass
class FusionStage:
    """A node, a switch and three sensors, all on one broker and one clock."""

    clock: FakeClock
    broker: MemoryBroker

    def __post_init__(self) -> None:
        self.bus = MemoryBus(self.broker, self.clock)
        self.switch = self.bus.server("switch")
        self.topics = {t: self.bus.publisher(t, "test") for t in TOPICS}
        self.estimates = self.bus.reader("emotion")
        self.inputs = self.bus.reader(*TOPICS)
        self.journal = ReliableReader(self.bus, "journal")
        self.recorded: dict[InputRef, Message[Any]] = {}
        self.results: list[Message[Any]] = []
        self.entries: list[Message[Journal]] = []
        self.start()

    def start(self) -> None:
        self.node_bus = MemoryBus(self.broker, self.clock)
        self.node = FusionNode(self.node_bus, Config(), HashModel(), RUNTIME)

    def kill(self) -> None:
        """kill -9: sockets close without a message."""
        self.node_bus.close()

    def turn(self) -> None:
        self.node.turn()
        for message in self.inputs.drain():
            self.recorded[message.ref] = message
        self.results += self.estimates.drain()
        self.entries += self.journal.drain()
        self.node.turn()
        self.entries += self.journal.drain()

    def send(self, message: Message[Any]) -> None:
        self.topics[message.topic].send(message.body, message.payload, origin_us=message.envelope.origin_us)

    def hop(self, *present: Modality, epoch: int = 0) -> None:
        now = self.clock.now_us()
        for modality in present:
            ends = [now + (i + 1) * SECOND // RATE[modality] for i in range(RATE[modality] // 2)]
            self.send(tokens(modality, ends, epoch=epoch, context=now if modality == "text" else 0))
        self.turn()
        self.clock.advance(SECOND // 2)
        self.turn()

    def combinations(self) -> list[str]:
        return [m.body.combination for m in self.results if m.body.revision == 0 and not m.body.final]

    def replayed(self, entries: list[Message[Journal]] | None = None) -> list[Replayed]:
        return list(replay(entries or self.entries, self.recorded.get, lambda name: HashModel()))


@pytest.fixture
def stage() -> Iterator[FusionStage]:
    stage = FusionStage(FakeClock(), MemoryBroker())
    yield stage
    stage.node_bus.close()
    stage.bus.close()


def play(stage: FusionStage) -> None:
    """Ten seconds with absent sensors, a mask, late text and missed ticks."""
    for present in (MODALITIES,) * 6 + (("audio",),) * 4 + (("audio", "video"),) * 4:
        stage.hop(*present)
    stage.send(tokens("text", [stage.clock.now_us() - SECOND], context=1))
    order_purge(stage, "audio", 1)
    for _ in range(4):
        stage.hop("video")
    stage.clock.advance(3 * SECOND)
    for _ in range(4):
        stage.hop("video", "text")


def order_purge(stage: FusionStage, modality: Modality, epoch: int) -> Any:
    """Order a purge as the switch does on a mask; returns the acknowledgement of the node."""
    peers = []
    while (item := stage.switch.receive()) is not None:
        if isinstance(item[1], Register):
            peers.append(item[0])
    stage.switch.send(peers[-1], Purge(modality=modality, mask_epoch=epoch))
    stage.send(sensor(modality, "masked", "absent", epoch))
    stage.node.turn()
    return next(m for _, m in iter(stage.switch.receive, None) if isinstance(m, Purged))


def test_it_publishes_one_estimate_per_hop_on_the_hop_grid(stage: FusionStage) -> None:
    for _ in range(8):
        stage.hop("audio", "video")
    first = [m for m in stage.results if m.body.revision == 0 and not m.body.final]
    assert [m.envelope.origin_us % (SECOND // 2) for m in first] == [0] * 8
    assert len({m.envelope.origin_us for m in first}) == 8
    assert stage.combinations()[-1] == "av"


def test_without_modalities_the_estimate_is_empty(stage: FusionStage) -> None:
    stage.hop()
    body = stage.results[-1].body
    assert (body.combination, body.probabilities, body.label, body.sentiment) == ("none", None, None, None)
    assert body.abstain
    assert body.sentiment_reason


def test_a_run_replays_byte_for_byte_from_its_journal(stage: FusionStage) -> None:
    play(stage)
    live = [digest(result_bytes(m)) for m in stage.results]
    again = [d for r in stage.replayed() for d in r.digests]
    assert again == live
    assert [d for e in stage.entries for d in e.body.results] == live
    assert len(live) > 30


@pytest.mark.parametrize("first", [1, 5, 12])
def test_two_swapped_journal_entries_do_not_replay(stage: FusionStage, first: int) -> None:
    play(stage)
    swapped = list(stage.entries)
    swapped[first], swapped[first + 1] = swapped[first + 1], swapped[first]
    with pytest.raises(SessionError, match="follows entry"):
        stage.replayed(swapped)


def test_a_changed_journal_entry_does_not_replay(stage: FusionStage) -> None:
    play(stage)
    entry = stage.entries[4]
    body = msgspec.structs.replace(entry.body, inputs=entry.body.inputs[::-1])
    stage.entries[4] = Message(entry.topic, entry.envelope, body, (), b"")
    with pytest.raises(SessionError, match="changed or moved"):
        stage.replayed()


def test_a_missing_input_is_named(stage: FusionStage) -> None:
    play(stage)
    gone = next(ref for ref in stage.recorded if ref.topic == "feature/audio")
    del stage.recorded[gone]
    with pytest.raises(SessionError, match="feature/audio"):
        stage.replayed()


def test_feature_purged_before_its_tick_need_not_be_recorded(stage: FusionStage) -> None:
    for _ in range(6):
        stage.hop("audio", "video")
    stage.send(tokens("audio", [stage.clock.now_us() + 100]))
    stage.turn()
    last = max((r for r in stage.recorded if r.topic == "feature/audio"), key=lambda r: r.seq)
    order_purge(stage, "audio", 1)
    for _ in range(4):
        stage.hop("video")
    del stage.recorded[last]
    assert [d for r in stage.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in stage.results]


def test_other_content_gives_other_results(stage: FusionStage) -> None:
    play(stage)
    ref = next(ref for ref in stage.recorded if ref.topic == "feature/video")
    other = tokens("video", [int(e) for e in stage.recorded[ref].payload[2]], seed=99)
    stage.recorded[ref] = Message(ref.topic, stage.recorded[ref].envelope, stage.recorded[ref].body, other.payload, b"")
    digests = [d for r in stage.replayed() for d in r.digests]
    assert digests != [d for e in stage.entries for d in e.body.results]


def test_purge_is_acknowledged_after_deletion(stage: FusionStage) -> None:
    for _ in range(6):
        stage.hop(*MODALITIES)
    answer = order_purge(stage, "audio", 3)
    assert (answer.modality, answer.mask_epoch, answer.name) == ("audio", 3, "fusion")
    stage.hop("video", "text")
    assert stage.results[-1].body.presence["audio"].state == "masked"
    assert stage.results[-1].body.mask_epoch == 3


def test_restarted_node_begins_with_empty_context_and_a_new_opening(stage: FusionStage) -> None:
    for _ in range(6):
        stage.hop("audio")
    stage.kill()
    stage.start()
    for _ in range(6):
        stage.hop("audio")
    openings = [e for e in stage.entries if e.body.opening]
    assert len(openings) == 2
    assert [d for r in stage.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in stage.results]


CORRUPT = [
    [],
    [b""],
    [b"{}"],
    [b"\xff\xfe"],
    [b"[1, 2"],
    [b'{"schema": 3}'],
    [b'{"schema": "edge_mer.feature.audio/99"}'],
    [b"x" * 5_000_000],
    [b"{}"] * 50,
]


@pytest.mark.parametrize("topic", TOPICS)
def test_corrupt_truncated_and_oversized_messages_are_dropped_and_counted(stage: FusionStage, topic: str) -> None:
    stage.hop("audio")
    for frames in CORRUPT:
        stage.broker.inject(topic, [topic.encode(), *frames])
    message = sensor("audio") if topic.startswith("state") else tokens("audio", [stage.clock.now_us()])
    stage.broker.inject(topic, [topic.encode(), message.header[:-9], *(p.tobytes() for p in message.payload)])
    stage.broker.inject(topic, [topic.encode(), message.header, b"short"])
    for _ in range(4):
        stage.hop("audio")
    assert stage.node.counters["bad"] == len(CORRUPT) + 2
    assert stage.combinations()[-1] == "a"


def test_a_stalled_node_skips_to_the_newest_tick_and_counts_the_missed_ones(stage: FusionStage) -> None:
    stage.hop("audio")
    stage.clock.advance(5 * SECOND)
    stage.turn()
    assert stage.node.counters["tick.missed"] == 9


def test_sensor_at_three_times_its_rate_does_not_delay_others(stage: FusionStage) -> None:
    for _ in range(10):
        now = stage.clock.now_us()
        for i in range(12):
            stage.send(tokens("audio", [now + i * 41_000]))
        stage.hop("video")
    assert stage.combinations()[-1] == "av"
    assert sum(len(p.values) for p in stage.node._state.tracks["audio"].pieces) <= 4 * 32


def test_every_estimate_has_its_own_latency_figures(stage: FusionStage) -> None:
    tick = stage.clock.now_us() + SECOND // 2
    ends = [tick - 300_000 - i * 125_000 for i in range(8)][::-1]
    stage.clock.advance(260_000)
    stage.send(tokens("audio", ends, raw_created_us=tick - 260_000))
    stage.clock.advance(240_000)
    stage.turn()
    latency = stage.results[-1].body.latency_ms
    assert (latency.capture, latency.encode, latency.wait) == (40, 20, 240)
    assert latency.total == 300


def test_explanations_are_published_for_every_tick_while_a_reader_exists(stage: FusionStage) -> None:
    graph_runs: list[str] = []
    predict = stage.node._fusion.model.predict
    stage.node._fusion.model.predict = lambda c, w: (graph_runs.append(c), predict(c, w))[1]  # type: ignore[method-assign]
    for _ in range(6):
        stage.hop("audio", "video")
    assert set(graph_runs) <= {"a", "v", "av"}
    quiet = len(graph_runs)
    reader = stage.bus.reader("explain")
    for _ in range(3):
        stage.hop("audio", "video")
    found = reader.drain()
    first = [m for m in stage.results if m.body.revision == 0 and not m.body.final][-3:]
    assert [m.envelope.origin_us for m in found] == [m.envelope.origin_us for m in first]
    assert [(m.body.label, m.body.mask_epoch) for m in found] == [(m.body.label, m.body.mask_epoch) for m in first]
    assert all(m.body.contributions["text"] == 0.0 and m.body.contributions["audio"] != 0.0 for m in found)
    assert len(graph_runs) == quiet + 3 * 3, "av, and for each reader's tick a and v"
    reader.close()
    for _ in range(3):
        stage.hop("audio", "video")
    assert len(graph_runs) == quiet + 3 * 3 + 3, "without a reader nothing is computed"


def test_masked_modality_is_not_in_the_explanation(stage: FusionStage) -> None:
    reader = stage.bus.reader("explain")
    for _ in range(6):
        stage.hop("audio", "video")
    order_purge(stage, "audio", 1)
    for _ in range(3):
        stage.hop("video")
    body = reader.drain()[-1].body
    assert (body.combination, body.contributions["audio"], body.mask_epoch) == ("v", 0.0, 1)


def test_explanations_change_no_estimate(stage: FusionStage) -> None:
    play(stage)
    reader = stage.bus.reader("explain")
    play(stage)
    assert reader.drain()
    assert [d for r in stage.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in stage.results]


def test_a_purge_overwrites_the_windows_that_held_the_modality() -> None:
    stage = FusionStage(FakeClock(), MemoryBroker())
    for modality in MODALITIES:
        stage.send(sensor(modality))
    for _ in range(4):
        stage.clock.advance(SECOND // 2)
        stage.hop(*MODALITIES)
    windows = [w for pending in stage.node._state.pending for m, w in pending.windows.items() if m == "audio"]
    assert any(w.values.any() for w in windows)
    peer = next(peer for peer, message in iter(stage.switch.receive, None) if isinstance(message, Register))
    stage.switch.send(peer, Purge(modality="audio", mask_epoch=9))
    stage.turn()
    assert not any(w.values.any() for w in windows)
