"""Reliable topics: every message in order, after losses and restarts; permanent loss is counted as a gap."""

from __future__ import annotations

import pytest

from edge_mer.bus import MemoryBroker, MemoryBus, ReliablePublisher, ReliableReader
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.messages import Journal


def entry(number: int) -> Journal:
    return Journal(entry=number, tick_us=0, inputs=(), watermarks={}, drops={}, results=(), chain="")


class Pair:
    def __init__(self, keep: int = 100) -> None:
        self.clock, self.broker, self.keep = FakeClock(), MemoryBroker(), keep
        self.start()
        self.reader = ReliableReader(MemoryBus(self.broker, self.clock), "journal")
        self.got: list[int] = []

    def start(self) -> None:
        self.bus = MemoryBus(self.broker, self.clock)
        self.publisher = ReliablePublisher(self.bus, "journal", "fusion", self.keep)

    def send(self, *numbers: int) -> None:
        for n in numbers:
            self.publisher.send(entry(n), origin_us=0)

    def settle(self, seconds: int = 3) -> list[int]:
        for _ in range(seconds * 4):
            self.got += [m.body.entry for m in self.reader.drain()]
            self.publisher.pump()
            self.clock.advance(SECOND // 4)
        return self.got


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_late_reader_receives_all_messages(pair: Pair) -> None:
    pair.send(*range(50))
    assert pair.settle() == list(range(50))
    assert pair.reader.counters["gap"] == 0


def test_lost_messages_are_resent(pair: Pair) -> None:
    pair.settle()
    pair.send(0, 1, 2)
    for inbox in pair.broker.clients.values():
        inbox.clear()
    pair.send(3)
    assert pair.settle() == [0, 1, 2, 3]
    assert pair.reader.counters["gap"] == 0


def test_retransmits_under_load(pair: Pair) -> None:
    pair.settle()
    pair.send(0, 1)
    for inbox in pair.broker.clients.values():
        inbox.clear()
    for number in range(2, 12):
        pair.send(number)
        pair.settle(1)
    assert pair.got == list(range(12))
    assert pair.reader.counters["gap"] == 0


def test_messages_that_left_the_log_are_skipped_under_load() -> None:
    pair = Pair(keep=10)
    pair.send(*range(25))
    for number in range(25, 31):
        pair.settle(1)
        pair.send(number)
    pair.settle()
    first = pair.got[0]
    assert pair.got == list(range(first, 31))
    assert first <= 22


def test_a_restarted_publisher_is_followed(pair: Pair) -> None:
    pair.send(0, 1)
    pair.settle()
    pair.bus.close()
    pair.start()
    pair.send(10, 11)
    assert pair.settle() == [0, 1, 10, 11]


def test_messages_that_left_the_log_are_counted_as_gap() -> None:
    pair = Pair(keep=10)
    pair.send(*range(25))
    assert pair.settle(6) == list(range(15, 25))
    assert pair.reader.counters["gap"] == 15


def test_a_reader_that_ended_is_removed(pair: Pair) -> None:
    pair.settle()
    pair.reader.close()
    pair.clock.advance(20 * SECOND)
    pair.publisher.pump()
    assert not pair.publisher._peers
