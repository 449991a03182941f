"""A hundred thousand malformed records: the player plays whole records, counts bad ones, and never raises.

``python -m tests.session.test_malformed SEED COUNT`` runs other seeds and counts.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.session import mcap_scan
from edge_mer.session.mcap_scan import StoredChannel, StoredMessage
from edge_mer.session.player import Player
from edge_mer.session.reader import Session
from edge_mer.session.recorder import opening
from edge_mer.session.writer import SessionWriter
from tests.session.stage import record_run
from tests.session.studio import Studio

COUNT, PER_FILE = 100_000, 10_000
JUNK = (b"", b"\x00" * 40, b"\xff" * 40, b"[" * 5_000, b'{"a":' * 5_000, b"null", b"{}", b"\xed\xa0\x80", b'"' * 9)
NUMBERS = (b"-1", b"99999999999999999999", b"1e400", b"NaN", b"9223372036854775807", b"-9223372036854775808", b"null")


def valid(folder: Path) -> list[StoredMessage]:
    """Entries of every kind: features, states, estimates, audio, video, text."""
    studio = Studio(folder / "raw.mcap")
    studio.run(1)
    studio.finish()
    return [e for p in (record_run(folder / "a.mcap", steps=30), studio.path) for e in Session(p).entries()]


def malformed(entry: StoredMessage, rng: np.random.Generator) -> StoredMessage:
    """A record damaged in one of several ways; some stay whole."""
    data, way = bytearray(entry.data), int(rng.integers(9))
    at = int(rng.integers(len(data))) if data else 0
    if way == 0:
        data[at : at + int(rng.integers(1, 60))] = b""
    elif way == 1:
        for place in rng.integers(len(data), size=int(rng.integers(1, 8))):
            data[place] ^= 1 << int(rng.integers(8))
    elif way == 2:
        data[at:at] = rng.bytes(int(rng.integers(1, 60)))
    elif way == 3:
        data = bytearray(JUNK[int(rng.integers(len(JUNK)))])
    elif way == 4:
        digits = [i for i in range(len(data) - 1) if data[i : i + 1] == b":" and data[i + 1 : i + 2].isdigit()]
        if digits:
            place = digits[int(rng.integers(len(digits)))] + 1
            end = place
            while end < len(data) and data[end : end + 1].isdigit():
                end += 1
            data[place:end] = NUMBERS[int(rng.integers(len(NUMBERS)))]
    elif way == 5:
        data = data[:at]
    elif way == 6:
        return entry._replace(channel=StoredChannel(entry.channel.topic, ("json", "edge_mer.frames")[at % 2]))
    elif way == 7:
        time = int(rng.integers(0, 2**63))
        return entry._replace(log_ns=time, publish_ns=time, sequence=int(rng.integers(2**32)))
    return entry._replace(data=bytes(data))


def file_of(entries: Iterator[StoredMessage], path: Path) -> Path:
    writer = SessionWriter(path, opening(Config(), MemoryBus(MemoryBroker(), FakeClock())))
    for entry in entries:
        writer.copy(entry)
    writer.flush()
    writer.abandon()
    return path


def play(path: Path) -> tuple[int, int]:
    """Number of played records, and of damaged or unplayable ones."""
    session = Session(path)
    assert mcap_scan.walk(memoryview(path.read_bytes())).chunks
    bus = MemoryBus(MemoryBroker(), FakeClock())
    player = Player(session, bus, "max")
    while not player.done:
        bus.wait(player.turn())
    return player.counters["played"], player.counters["bad"] + sum("message" in f for f in session.faults)


def attack(seed: int, count: int, folder: Path) -> tuple[int, int]:
    rng, source = np.random.default_rng(seed), valid(folder)
    played = bad = 0
    for number in range(0, count, PER_FILE):
        wrong = (malformed(source[int(i)], rng) for i in rng.integers(len(source), size=PER_FILE))
        path = file_of(wrong, folder / f"{number}.mcap")
        good, not_good = play(path)
        played, bad = played + good, bad + not_good
        path.unlink()
    return played, bad


def test_a_hundred_thousand_malformed_records_never_stop_the_player(tmp_path: Path) -> None:
    played, bad = attack(0, COUNT, tmp_path)
    assert bad > COUNT // 3
    assert played > COUNT // 20, "whole records are played nevertheless"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print("played {}, bad {}".format(*attack(int(sys.argv[1]), int(sys.argv[2]), Path(place))))
