"""Recordings of other programs, and recordings still being written, are identified as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mcap.writer import CompressionType, Writer
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.session.reader import Session
from tests.session.stage import Home, record_run


def foreign(path: Path, chunks: bool = True, crc: bool = True) -> Path:
    with path.open("wb") as file:
        writer = Writer(
            file, compression=CompressionType.NONE, use_chunking=chunks, enable_crcs=crc, enable_data_crcs=crc
        )
        writer.start("ros2", "rosbag2")
        schema = writer.register_schema("std_msgs/String", "jsonschema", b'{"type": "object"}')
        channel = writer.register_channel("/chatter", "json", schema)
        for i in range(10):
            writer.add_message(channel, i * 10**8, json.dumps({"data": i}).encode(), i * 10**8)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def session(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["session", *map(str, arguments)])


@pytest.mark.parametrize("chunks", [True, False])
@pytest.mark.parametrize("crc", [True, False])
def test_recording_of_another_program_is_identified(tmp_path: Path, chunks: bool, crc: bool) -> None:
    path = foreign(tmp_path / "ros.mcap", chunks, crc)
    for arguments in (
        ("info", path),
        ("info", path, "--check"),
        ("recover", path, tmp_path / "out.mcap"),
        ("export", path, tmp_path / "out.csv"),
    ):
        done = session(*arguments)
        assert done.exit_code == 1
        assert "is not an edge_mer session: it was written by rosbag2 (profile ros2)" in done.output
    assert list(tmp_path.glob("out.*")) == []
    for more in ((), ("--verify",)):
        done = CliRunner().invoke(app, ["replay", str(path), *more])
        assert (done.exit_code, "is not an edge_mer session" in done.output) == (1, True)


def test_a_checksum_that_was_not_computed_is_no_fault(tmp_path: Path) -> None:
    faults = Session(foreign(tmp_path / "a.mcap", crc=False)).check()
    assert not any("checksum" in fault for fault in faults)


def test_recording_in_progress_is_reported(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    home.step()
    done = session("info", home.path)
    assert done.exit_code == 0
    assert "it is being recorded now" in done.output
    home.finish()
    assert "is being recorded" not in session("info", home.path).output


def test_a_session_of_ours_is_not_foreign(tmp_path: Path) -> None:
    assert Session(record_run(tmp_path / "a.mcap", steps=4)).foreign is None
    assert (tmp_path / "a.mcap").stat().st_mode & 0o777 == 0o600
