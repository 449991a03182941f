"""Readers of latest topics: invalid messages never raise, and stale messages do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.bus.reader import MOST_SOURCES
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.errors import BadMessage, EndpointInUse, Stale
from edge_mer.contract.messages import RawAudio, RawVideo
from edge_mer.contract.services import SERVICES

PCM = (np.zeros(512, np.int16),)


def audio(index: int = 0, epoch: int = 0) -> RawAudio:
    return RawAudio(rate=16_000, sample_index=index, overflows=0, mask_epoch=epoch)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus(clock: FakeClock) -> MemoryBus:
    return MemoryBus(MemoryBroker(), clock)


def test_messages_arrive_once_and_in_order(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    for i in range(5):
        publisher.send(audio(i), PCM, origin_us=i)
    assert [m.body.sample_index for m in reader.drain()] == [0, 1, 2, 3, 4]
    assert reader.drain() == []
    assert reader.counters["gap"] == 0


def test_a_stale_message_raises_with_its_age(bus: MemoryBus, clock: FakeClock) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    with pytest.raises(Stale, match="nothing received yet"):
        reader.read_latest("raw/audio", SECOND)
    publisher.send(audio(), PCM, origin_us=0)
    assert reader.read_latest("raw/audio", SECOND).body.rate == 16_000
    clock.advance(2 * SECOND)
    with pytest.raises(Stale, match=r"2\.00 s old, at most 1\.00 s"):
        reader.read_latest("raw/audio", SECOND)


def test_a_gap_in_the_sequence_is_counted(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    publisher.send(audio(), PCM, origin_us=0)
    publisher.seq += 7
    publisher.send(audio(), PCM, origin_us=0)
    assert len(reader.drain()) == 2
    assert reader.counters["gap"] == 7


def test_a_repeated_message_is_not_delivered_twice(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    for _ in range(2):
        publisher.send(audio(), PCM, origin_us=0)
        publisher.seq = 0
    assert len(reader.drain()) == 1
    assert reader.counters["old"] == 1


def test_a_restarted_publisher_starts_its_own_sequence(bus: MemoryBus) -> None:
    reader = bus.reader("raw/audio")
    for boot in ("one", "two"):
        other = MemoryBus(bus.broker, bus.clock, boot=boot)
        other.publisher("raw/audio", "mic").send(audio(), PCM, origin_us=0)
        other.close()
    assert [m.envelope.boot for m in reader.drain()] == ["one", "two"]
    assert reader.counters["gap"] == reader.counters["old"] == 0


def test_a_reader_that_stalls_ten_seconds_still_reads_the_newest(bus: MemoryBus) -> None:
    """A queue that is too short would keep the oldest; the high-water mark covers the stall."""
    reader, publisher = bus.reader("raw/video"), bus.publisher("raw/video", "cam")
    jpeg = (np.zeros(9, np.uint8),)
    for i in range(150):
        publisher.send(RawVideo(frame=i, width=1, height=1, mask_epoch=0), jpeg, origin_us=0)
    assert reader.drain()[-1].body.frame == 149


def test_memory_is_bounded_without_reads(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    for i in range(2_000):
        publisher.send(audio(i), PCM, origin_us=0)
    assert len(reader.drain()) == SERVICES["raw/audio"].high_water_mark


def test_messages_from_before_the_mask_epoch_are_dropped(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    publisher.send(audio(1, epoch=3), PCM, origin_us=0)
    reader.drain()
    publisher.send(audio(2, epoch=3), PCM, origin_us=0)
    reader.require_epoch("audio", 4)
    publisher.send(audio(3, epoch=4), PCM, origin_us=0)
    assert [m.body.sample_index for m in reader.drain()] == [3]
    assert reader.counters["masked"] == 1


def test_the_newest_message_is_dropped_when_it_is_masked(bus: MemoryBus) -> None:
    reader, publisher = bus.reader("raw/audio"), bus.publisher("raw/audio", "mic")
    publisher.send(audio(epoch=3), PCM, origin_us=0)
    reader.drain()
    reader.require_epoch("audio", 4)
    with pytest.raises(Stale):
        reader.read_latest("raw/audio", SECOND)


@given(st.lists(st.binary(max_size=200), max_size=6), st.sampled_from(sorted(SERVICES)))
def test_no_bytes_on_any_topic_raise(frames: list[bytes], topic: str) -> None:
    bus = MemoryBus(MemoryBroker(), FakeClock())
    reader = bus.reader(topic)
    bus.broker.inject(topic, frames)
    bus.broker.inject(topic, [topic.encode(), *frames])
    assert reader.drain() == []
    assert reader.counters["bad"] == 2


@given(st.data())
def test_a_message_cut_or_flipped_anywhere_is_dropped_or_still_valid(data: st.DataObject) -> None:
    bus = MemoryBus(MemoryBroker(), FakeClock())
    reader, probe = bus.reader("raw/audio"), MemoryBus(MemoryBroker(), FakeClock())
    message = probe.publisher("raw/audio", "mic").send(audio(), PCM, origin_us=5)
    frames = [b"raw/audio", message.header, PCM[0].tobytes()]
    which = data.draw(st.integers(0, 2))
    at = data.draw(st.integers(0, len(frames[which]) - 1))
    if data.draw(st.booleans()):
        frames[which] = frames[which][:at]
    else:
        flipped = bytearray(frames[which])
        flipped[at] ^= 1 << data.draw(st.integers(0, 7))
        frames[which] = bytes(flipped)
    bus.broker.inject("raw/audio", frames)
    assert len(reader.drain()) + reader.counters["bad"] == 1


def test_an_endpoint_has_one_owner(bus: MemoryBus) -> None:
    bus.publisher("raw/audio", "mic")
    with pytest.raises(EndpointInUse):
        MemoryBus(bus.broker).publisher("raw/audio", "player")


def test_a_publisher_refuses_nan_and_the_wrong_body(bus: MemoryBus) -> None:
    publisher = bus.publisher("raw/audio", "mic")
    with pytest.raises(BadMessage, match="NaN or Inf"):
        publisher.send(audio(), (np.array([np.nan], np.float32),), origin_us=0)
    with pytest.raises(BadMessage, match="carries RawAudio"):
        publisher.send(RawVideo(frame=0, width=1, height=1, mask_epoch=0), origin_us=0)
    assert publisher.seq == 0, "a refused message must not leave a gap"


def test_many_sources_on_one_topic_cost_a_bounded_memory(bus: MemoryBus) -> None:
    reader = bus.reader("raw/audio")
    for n in range(2 * MOST_SOURCES):
        publisher = MemoryBus(bus.broker, bus.clock, "one").publisher("raw/audio", f"mic{n}")
        publisher.send(audio(), PCM, origin_us=n)
        publisher.close()
        reader.drain()
    assert len(reader._next) == MOST_SOURCES
