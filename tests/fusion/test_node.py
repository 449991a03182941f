"""The fusion node on the in-memory bus: what it publishes, what it survives, and that its journal replays."""

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
class House:
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
        """kill -9: nothing is said, sockets vanish."""
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
def house() -> Iterator[House]:
    house = House(FakeClock(), MemoryBroker())
    yield house
    house.node_bus.close()
    house.bus.close()


def play(house: House) -> None:
    """Ten seconds with everything in it: drops, a mask, late text, a flood and a missed tick."""
    for present in (MODALITIES,) * 6 + (("audio",),) * 4 + (("audio", "video"),) * 4:
        house.hop(*present)
    house.send(tokens("text", [house.clock.now_us() - SECOND], context=1))
    order_purge(house, "audio", 1)
    for _ in range(4):
        house.hop("video")
    house.clock.advance(3 * SECOND)
    for _ in range(4):
        house.hop("video", "text")


def order_purge(house: House, modality: Modality, epoch: int) -> Any:
    """What the switch does on a mask; returns the node's acknowledgement."""
    peers = []
    while (item := house.switch.receive()) is not None:
        if isinstance(item[1], Register):
            peers.append(item[0])
    house.switch.send(peers[-1], Purge(modality=modality, mask_epoch=epoch))
    house.send(sensor(modality, "masked", "absent", epoch))
    house.node.turn()
    return next(m for _, m in iter(house.switch.receive, None) if isinstance(m, Purged))


def test_it_publishes_one_estimate_per_hop_on_the_hop_grid(house: House) -> None:
    for _ in range(8):
        house.hop("audio", "video")
    first = [m for m in house.results if m.body.revision == 0 and not m.body.final]
    assert [m.envelope.origin_us % (SECOND // 2) for m in first] == [0] * 8
    assert len({m.envelope.origin_us for m in first}) == 8
    assert house.combinations()[-1] == "av"


def test_nobody_there_is_none_and_invents_nothing(house: House) -> None:
    house.hop()
    body = house.results[-1].body
    assert (body.combination, body.probabilities, body.label, body.sentiment) == ("none", None, None, None)
    assert body.abstain
    assert body.sentiment_reason


def test_a_run_replays_byte_for_byte_from_its_journal(house: House) -> None:
    play(house)
    live = [digest(result_bytes(m)) for m in house.results]
    again = [d for r in house.replayed() for d in r.digests]
    assert again == live
    assert [d for e in house.entries for d in e.body.results] == live
    assert len(live) > 30


@pytest.mark.parametrize("first", [1, 5, 12])
def test_two_swapped_journal_entries_do_not_replay(house: House, first: int) -> None:
    play(house)
    swapped = list(house.entries)
    swapped[first], swapped[first + 1] = swapped[first + 1], swapped[first]
    with pytest.raises(SessionError, match="follows entry"):
        house.replayed(swapped)


def test_a_changed_journal_entry_does_not_replay(house: House) -> None:
    play(house)
    entry = house.entries[4]
    body = msgspec.structs.replace(entry.body, inputs=entry.body.inputs[::-1])
    house.entries[4] = Message(entry.topic, entry.envelope, body, (), b"")
    with pytest.raises(SessionError, match="changed or moved"):
        house.replayed()


def test_a_missing_input_is_named(house: House) -> None:
    play(house)
    gone = next(ref for ref in house.recorded if ref.topic == "feature/audio")
    del house.recorded[gone]
    with pytest.raises(SessionError, match="feature/audio"):
        house.replayed()


def test_a_feature_that_was_purged_at_once_need_not_be_recorded(house: House) -> None:
    for _ in range(6):
        house.hop("audio", "video")
    house.send(tokens("audio", [house.clock.now_us() + 100]))
    house.turn()
    last = max((r for r in house.recorded if r.topic == "feature/audio"), key=lambda r: r.seq)
    order_purge(house, "audio", 1)
    for _ in range(4):
        house.hop("video")
    del house.recorded[last]
    assert [d for r in house.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in house.results]


def test_other_content_gives_other_results(house: House) -> None:
    play(house)
    ref = next(ref for ref in house.recorded if ref.topic == "feature/video")
    other = tokens("video", [int(e) for e in house.recorded[ref].payload[2]], seed=99)
    house.recorded[ref] = Message(ref.topic, house.recorded[ref].envelope, house.recorded[ref].body, other.payload, b"")
    digests = [d for r in house.replayed() for d in r.digests]
    assert digests != [d for e in house.entries for d in e.body.results]


def test_a_purge_is_acknowledged_only_when_nothing_is_left(house: House) -> None:
    for _ in range(6):
        house.hop(*MODALITIES)
    answer = order_purge(house, "audio", 3)
    assert (answer.modality, answer.mask_epoch, answer.name) == ("audio", 3, "fusion")
    house.hop("video", "text")
    assert house.results[-1].body.presence["audio"].state == "masked"
    assert house.results[-1].body.mask_epoch == 3


def test_a_killed_node_comes_back_with_a_fresh_context_and_a_new_opening(house: House) -> None:
    for _ in range(6):
        house.hop("audio")
    house.kill()
    house.start()
    for _ in range(6):
        house.hop("audio")
    openings = [e for e in house.entries if e.body.opening]
    assert len(openings) == 2
    assert [d for r in house.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in house.results]


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
def test_corrupt_truncated_and_oversized_messages_are_dropped_and_counted(house: House, topic: str) -> None:
    house.hop("audio")
    for frames in CORRUPT:
        house.broker.inject(topic, [topic.encode(), *frames])
    message = sensor("audio") if topic.startswith("state") else tokens("audio", [house.clock.now_us()])
    house.broker.inject(topic, [topic.encode(), message.header[:-9], *(p.tobytes() for p in message.payload)])
    house.broker.inject(topic, [topic.encode(), message.header, b"short"])
    for _ in range(4):
        house.hop("audio")
    assert house.node.counters["bad"] == len(CORRUPT) + 2
    assert house.combinations()[-1] == "a"


def test_a_stalled_node_skips_to_the_newest_tick_and_counts_the_missed_ones(house: House) -> None:
    house.hop("audio")
    house.clock.advance(5 * SECOND)
    house.turn()
    assert house.node.counters["tick.missed"] == 9


def test_a_flooding_sensor_at_three_times_its_rate_delays_nobody(house: House) -> None:
    for _ in range(10):
        now = house.clock.now_us()
        for i in range(12):
            house.send(tokens("audio", [now + i * 41_000]))
        house.hop("video")
    assert house.combinations()[-1] == "av"
    assert sum(len(p.values) for p in house.node._state.tracks["audio"].pieces) <= 4 * 32


def test_every_estimate_carries_its_own_latency_ledger(house: House) -> None:
    tick = house.clock.now_us() + SECOND // 2
    ends = [tick - 300_000 - i * 125_000 for i in range(8)][::-1]
    house.clock.advance(260_000)
    house.send(tokens("audio", ends, raw_created_us=tick - 260_000))
    house.clock.advance(240_000)
    house.turn()
    latency = house.results[-1].body.latency_ms
    assert (latency.capture, latency.encode, latency.wait) == (40, 20, 240)
    assert latency.total == 300


def test_an_explanation_is_made_for_every_tick_while_somebody_reads_it(house: House) -> None:
    asked: list[str] = []
    predict = house.node._fusion.model.predict
    house.node._fusion.model.predict = lambda c, w: (asked.append(c), predict(c, w))[1]  # type: ignore[method-assign]
    for _ in range(6):
        house.hop("audio", "video")
    assert set(asked) <= {"a", "v", "av"}
    quiet = len(asked)
    reader = house.bus.reader("explain")
    for _ in range(3):
        house.hop("audio", "video")
    found = reader.drain()
    first = [m for m in house.results if m.body.revision == 0 and not m.body.final][-3:]
    assert [m.envelope.origin_us for m in found] == [m.envelope.origin_us for m in first]
    assert [(m.body.label, m.body.mask_epoch) for m in found] == [(m.body.label, m.body.mask_epoch) for m in first]
    assert all(m.body.contributions["text"] == 0.0 and m.body.contributions["audio"] != 0.0 for m in found)
    assert len(asked) == quiet + 3 * 3, "av, and for each reader's tick a and v"
    reader.close()
    for _ in range(3):
        house.hop("audio", "video")
    assert len(asked) == quiet + 3 * 3 + 3, "nobody reads, nobody pays"


def test_what_was_masked_is_not_in_the_explanation(house: House) -> None:
    reader = house.bus.reader("explain")
    for _ in range(6):
        house.hop("audio", "video")
    order_purge(house, "audio", 1)
    for _ in range(3):
        house.hop("video")
    body = reader.drain()[-1].body
    assert (body.combination, body.contributions["audio"], body.mask_epoch) == ("v", 0.0, 1)


def test_who_asks_why_changes_no_estimate(house: House) -> None:
    play(house)
    reader = house.bus.reader("explain")
    play(house)
    assert reader.drain()
    assert [d for r in house.replayed() for d in r.digests] == [digest(result_bytes(m)) for m in house.results]
