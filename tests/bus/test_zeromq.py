"""The real bus: ZeroMQ over ipc sockets in a private directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.bus import ReliablePublisher, ReliableReader, ZmqBus, runtime_directory, zeromq
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Heartbeat
from edge_mer.contract.errors import ConfigError, EndpointInUse
from edge_mer.contract.messages import ClockReport, HealthReport, Journal, RawAudio, RawVideo

PCM = (np.arange(512, dtype=np.int16),)


def audio(index: int = 0) -> RawAudio:
    return RawAudio(rate=16_000, sample_index=index, overflows=0, mask_epoch=0)


@pytest.fixture
def buses(tmp_path: Path) -> Iterator[tuple[ZmqBus, ZmqBus]]:
    directory = runtime_directory(str(tmp_path / "run"))
    pair = ZmqBus(directory), ZmqBus(directory)
    yield pair
    for bus in pair:
        bus.close()


def wait_for(bus: ZmqBus, ready: Callable[[], Any], seconds: int = 5) -> Any:
    """Poll ``ready`` whenever the bus wakes, until it is truthy or the deadline passes."""
    end = bus.clock.now_us() + seconds * SECOND
    while not (found := ready()):
        assert bus.clock.now_us() < end, "nothing arrived"
        bus.wait(20_000)
    return found


def joined(sender: ZmqBus, reader_bus: ZmqBus, topic: str, send: Callable[[], Any]) -> Any:
    """A reader that has seen one message: a PUB socket drops messages from before the subscription."""
    reader = reader_bus.reader(topic)

    def ready() -> Any:
        send()
        reader_bus.wait(10_000)
        return reader.drain()

    wait_for(reader_bus, ready)
    return reader


def test_an_awaited_reader_that_joins_late_gets_the_first_message(
    buses: tuple[ZmqBus, ZmqBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zeromq, "SETTLE_S", 0)
    monkeypatch.setattr(zeromq, "AWAITED_S", 30)
    one, two = buses
    publishers = [one.publisher(topic, "test") for topic in ("health", "clock")]
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(two.reader, "health", "clock", awaited=True)
        one.settle(awaited=True)
        publishers[0].send(HealthReport({}), origin_us=1)
        publishers[1].send(ClockReport("boot", 0, 0), origin_us=1)
        seen = wait_for(two, reader.result().drain)
        while len(seen) < 2:
            seen += wait_for(two, reader.result().drain)
    assert {m.envelope.seq for m in seen} == {0}


def test_messages_cross_processes_bit_for_bit(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    publisher = one.publisher("raw/audio", "mic")
    reader = joined(one, two, "raw/audio", lambda: publisher.send(audio(), PCM, origin_us=1))
    sent = publisher.send(audio(7), PCM, origin_us=2)
    got = wait_for(two, lambda: [m for m in reader.drain() if m.body.sample_index == 7])[0]
    assert got.header == sent.header
    assert np.array_equal(got.payload[0], PCM[0])


def test_after_a_long_stall_the_newest_frame_is_read(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    publisher = one.publisher("raw/video", "cam")
    jpeg = (np.zeros(20_000, np.uint8),)
    body = [RawVideo(frame=i, width=1, height=1, mask_epoch=0) for i in range(46)]
    reader = joined(one, two, "raw/video", lambda: publisher.send(body[0], jpeg, origin_us=0))
    for frame in body:
        publisher.send(frame, jpeg, origin_us=0)
    assert wait_for(two, lambda: [m for m in reader.drain() if m.body.frame == 45])


def test_a_topic_on_request_is_wanted_only_with_a_reader(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    explain, emotion = one.publisher("explain", "fusion"), one.publisher("emotion", "fusion")
    assert (explain.wanted(), emotion.wanted()) == (False, True)
    for _ in range(2):
        first, second = two.reader("state/audio", "explain"), two.reader("explain")
        wait_for(one, explain.wanted)
        first.close()
        one.wait(100_000)  # upper bound for its unsubscription to arrive
        assert explain.wanted(), "one of two readers remains"
        second.close()
        wait_for(one, lambda: not explain.wanted())


def test_a_second_owner_of_a_topic_is_refused(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    one.publisher("raw/audio", "mic")
    with pytest.raises(EndpointInUse, match=f"process {os.getpid()}"):
        two.publisher("raw/audio", "player")


def test_a_closed_bus_leaves_no_file_and_frees_its_topics(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    one.publisher("raw/audio", "mic")
    one.server("switch")
    one.close()
    assert list(two.directory.iterdir()) == []
    two.publisher("raw/audio", "mic")


def test_the_journal_reaches_a_reader_that_started_first(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    reader = ReliableReader(two, "journal")
    reader.drain()
    publisher = ReliablePublisher(one, "journal", "fusion")
    for i in range(20):
        publisher.send(
            Journal(entry=i, tick_us=0, inputs=(), watermarks={}, drops={}, results=(), chain=""), origin_us=0
        )
    got: list[int] = []

    def ready() -> bool:
        publisher.pump()
        got.extend(m.body.entry for m in reader.drain())
        return len(got) >= 20

    wait_for(two, ready)
    assert got == list(range(20))


def test_control_messages_reach_their_server(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, two = buses
    server, client = one.server("supervisor"), two.client("supervisor")
    beat = Heartbeat(name="w", boot=two.boot, pid=1, created_us=2, counters={"x": 3})
    client.send(beat)
    peer, got = wait_for(one, server.receive)
    assert got == beat
    server.send(peer, beat)
    assert wait_for(two, client.receive) == beat


def test_the_wait_ends_for_a_file_descriptor(buses: tuple[ZmqBus, ZmqBus]) -> None:
    one, _ = buses
    wake = os.eventfd(1)
    before = one.clock.now_us()
    one.wait(5 * SECOND, wake)
    assert one.clock.now_us() - before < SECOND
    os.close(wake)


def test_the_runtime_directory_is_private(tmp_path: Path) -> None:
    path = runtime_directory(str(tmp_path / "a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        runtime_directory(str(path))
    with pytest.raises(ConfigError, match="too long"):
        runtime_directory(str(tmp_path / ("x" * 120)))
