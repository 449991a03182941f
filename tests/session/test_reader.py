"""A session file cut off or damaged anywhere: whole chunks are read, damage is named, only SessionError is raised."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import MCAP0_MAGIC

from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import InputRef
from edge_mer.session import mcap_scan
from edge_mer.session.reader import Session, is_cut
from edge_mer.session.verifier import verify
from edge_mer.session.writer import SessionWriter
from tests.session.stage import FAKE, Home, busy_run, read_all, record_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return record_run(tmp_path_factory.mktemp("session") / "a.mcap", steps=40).read_bytes()


@pytest.fixture(scope="module")
def as_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    folder = tmp_path_factory.mktemp("damaged")

    def write(data: bytes) -> Path:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".mcap", delete=False) as file:
            file.write(data)
        return Path(file.name)

    return write


@given(cut=st.floats(0, 1))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_at_any_byte_yields_every_whole_chunk(
    whole: bytes, as_file: Callable[[bytes], Path], cut: float
) -> None:
    end = round(8 + cut * (len(whole) - 9))
    layout = mcap_scan.walk(memoryview(whole))
    expected = [
        (e.channel, e.data)
        for place in layout.chunks
        if place.end <= end
        for e in mcap_scan.load(layout, memoryview(whole), place)
    ]
    path = as_file(whole[:end])
    session = Session(path)
    assert len(list(session.messages())) == len(expected)
    assert session.check()
    assert not session.finished
    assert is_cut(path)
    assert not verify(path, FAKE).identical


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_a_flipped_bit_anywhere_is_found_and_fails_verification(
    whole: bytes, as_file: Callable[[bytes], Path], place: float, bit: int
) -> None:
    changed = bytearray(whole)
    changed[int(place * len(whole))] ^= 1 << bit
    report = verify(as_file(bytes(changed)), FAKE)
    assert not report.equal
    named = r"chunk \d|byte \d|checksum of|index at the end|MCAP file|record: |session format"
    assert re.search(named, str(report.reason))


@given(data=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_garbage_behind_the_magic_never_raises_anything_but_session_error(
    as_file: Callable[[bytes], Path], data: bytes
) -> None:
    session = Session(as_file(mcap_scan.MCAP0_MAGIC + data))
    assert list(session.messages()) == []
    assert session.check()


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_scrambled_files_never_raise_anything_but_session_error(
    whole: bytes, as_file: Callable[[bytes], Path], data: st.DataObject
) -> None:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(8, len(whole) - 1))
        junk = data.draw(st.binary(min_size=1, max_size=20))
        changed[start : start + data.draw(st.integers(0, 20))] = junk
    session = Session(as_file(bytes(changed)))
    list(session.messages())
    session.lookup(InputRef("feature/audio", "perception.audio", "sensors", 1))
    session.check()


def test_the_damaged_chunk_is_named(whole: bytes, as_file: Callable[[bytes], Path]) -> None:
    place = mcap_scan.walk(memoryview(whole)).chunks[2]
    changed = bytearray(whole)
    changed[place.end - 40] ^= 1
    session = Session(as_file(bytes(changed)))
    rest = {m.ref for m in session.messages()}
    assert any(f.startswith(f"chunk 2 at byte {place.start}") for f in session.faults)
    assert len(rest) > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"RIFF1234 not mcap", "is not an MCAP file"), (b"\x89MCAP0", "is not an MCAP file")],
)
def test_file_that_is_no_session_is_an_error(as_file: Callable[[bytes], Path], content: bytes, message: str) -> None:
    path = as_file(content)
    with pytest.raises(SessionError, match=message):
        Session(path)
    assert not is_cut(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="No such file"):
        Session(tmp_path / "none.mcap")


def test_any_mcap_tool_reads_the_file(whole: bytes, as_file: Callable[[bytes], Path]) -> None:
    path = as_file(whole)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(read_all(path))
        assert {c.topic for c in summary.channels.values()} == {m.topic for m in read_all(path)}
        assert {m.name for m in reader.iter_metadata()} == {"edge_mer.opening", "edge_mer.trailer"}
        spans = [i.message_end_time - i.message_start_time for i in summary.chunk_indexes]
        assert max(spans) <= 1_000_000_000


def test_a_message_is_found_by_its_reference(whole: bytes, as_file: Callable[[bytes], Path]) -> None:
    session = Session(as_file(whole))
    for message in list(session.messages("feature/text"))[::5]:
        found = session.lookup(message.ref)
        assert found is not None
        assert found.header == message.header
    assert session.lookup(InputRef("feature/text", "unknown", "", 0)) is None


def test_reading_starts_at_the_given_time(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    for _ in range(40):
        home.step()
    start = home.clock.now_us() - 1_000_000
    home.finish()
    late = list(Session(home.path).messages(start_us=start))
    assert late == [] or min(m.envelope.created_us for m in late) >= start - 100_000
    assert 0 < len(late) < len(read_all(home.path))


def bomb(path: Path, chunks: int, messages: int, size: int) -> Path:
    """``chunks`` copies of one chunk with an extreme compression ratio."""
    name, encoding = b"emotion", b"json"
    channel = struct.pack("<HH", 1, 0) + _text(name) + _text(encoding) + struct.pack("<I", 0)
    message = _record(5, struct.pack("<HIQQ", 1, 0, 0, 0) + b"\0" * size)
    raw = _record(4, channel) + message * messages
    packed = zstandard.ZstdCompressor(level=19).compress(raw)
    head = struct.pack("<QQQI", 0, 0, len(raw), zlib.crc32(raw)) + _text(b"zstd") + struct.pack("<Q", len(packed))
    path.write_bytes(MCAP0_MAGIC + _record(1, _text(b"edge_mer") + _text(b"x")) + _record(6, head + packed) * chunks)
    return path


def _record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def _text(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


LOOK = """
import resource, sys
from pathlib import Path
from edge_mer.session.reader import Session
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
session = Session(Path(sys.argv[1]))
session.check()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000, len(session.faults))
"""


@pytest.mark.parametrize(
    ("chunks", "messages", "size"), [(20, 400_000, 0), (16, 1, 60_000_000), (16, 1, 15_000_000), (40, 39_000, 0)]
)
def test_decompression_bomb_takes_little_memory(tmp_path: Path, chunks: int, messages: int, size: int) -> None:
    path = bomb(tmp_path / "bomb.mcap", chunks, messages, size)
    assert path.stat().st_size < 1_000_000
    done = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True)
    megabytes, faults = map(int, done.stdout.split())
    assert megabytes < 300
    assert faults


def test_a_session_from_which_a_topic_was_removed_does_not_verify(tmp_path: Path) -> None:
    session = Session(busy_run(tmp_path / "a.mcap", seed=1))
    assert session.opening is not None
    assert session.trailer is not None
    recorded = [topic for topic, count in session.trailer.messages.items() if count]
    assert "emotion" in recorded
    for number, topic in enumerate(recorded):
        path = tmp_path / f"{number}.mcap"
        writer = SessionWriter(path, session.opening)
        for entry in session.entries():
            if entry.channel.topic != topic:
                writer.copy(entry)
        writer.close(session.trailer)
        report = verify(path, FAKE)
        assert not report.equal, topic
        if topic == "emotion":
            assert "messages of emotion were removed or added" in (report.reason or "")
