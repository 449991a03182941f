"""``edge-mer record`` and ``edge-mer replay`` as a user or a script calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from edge_mer.bus import ZmqBus
from edge_mer.cli.main import app
from edge_mer.contract.messages import ClockReport, Message
from edge_mer.session.reader import Session
from tests.session.stage import FAKE, read_all, record_run, remade, rewrite

DEADLINE_US = 20_000_000


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="em") as path:
        monkeypatch.setenv("EDGE_MER__RUN__DIRECTORY", path)
        yield Path(path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("commands") / "a.mcap", seed=7, steps=30)


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_mer.session.replay_components.installed", lambda *_, **__: FAKE)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def louder(messages: list[Message[Any]]) -> Iterator[Message[Any]]:
    for m in messages:
        yield remade(m, sentiment=3.0) if m.topic == "emotion" and m.envelope.seq == 4 else m


@pytest.mark.usefixtures("fake_model")
class TestVerify:
    def test_exact_session_exits_0_and_reports_the_compared_results(self, recorded: Path) -> None:
        result = call("replay", recorded, "--verify")
        assert result.exit_code == 0, result.output
        assert result.output.startswith("identical: ")
        assert "x real time" in result.output

    def test_changed_session_exits_1_with_the_first_difference(self, recorded: Path, tmp_path: Path) -> None:
        result = call("replay", rewrite(recorded, tmp_path / "b.mcap", louder), "--verify")
        assert result.exit_code == 1
        assert "NOT identical: recorded estimate 4" in result.output
        assert "sentiment: recorded 3.0, replayed " in result.output

    def test_json_is_one_report(self, recorded: Path) -> None:
        report = json.loads(call("replay", recorded, "--verify", "--json").output)
        assert report["identical"]
        assert report["results"] > 0

    def test_other_file_exits_1_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "x.mcap").write_text("hello")
        result = call("replay", tmp_path / "x.mcap", "--verify")
        assert result.exit_code == 1
        assert "is not an MCAP file" in result.output


class TestPlay:
    def test_every_estimate_is_a_line_of_json(self, recorded: Path, directory: Path) -> None:
        result = call("replay", recorded, "--speed", "max", "--json")
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in result.output.splitlines()]
        recorded_estimates = read_all(recorded, "emotion")
        assert [line["probabilities"] for line in lines] == [m.body.probabilities for m in recorded_estimates]
        assert list(directory.iterdir()) == []

    def test_default_output_is_one_readable_line_per_estimate(self, recorded: Path, directory: Path) -> None:
        output = call("replay", recorded, "--speed", "max").output
        assert len(output.splitlines()) == len(read_all(recorded, "emotion"))
        assert "provisional" in output

    @pytest.mark.parametrize("speed", ["fast", "0", "-1"])
    def test_invalid_speed_is_refused(self, recorded: Path, directory: Path, speed: str) -> None:
        result = call("replay", recorded, f"--speed={speed}")
        assert result.exit_code == 2
        assert "a number above 0, or max" in result.output

    def test_a_socket_that_a_live_worker_owns_is_refused(self, recorded: Path, directory: Path) -> None:
        bus = ZmqBus(directory)
        try:
            bus.publisher("emotion", "fusion")
            result = call("replay", recorded, "--speed", "max")
            assert result.exit_code == 1
            assert "owned by process" in result.output
        finally:
            bus.close()


def test_record_refuses_to_overwrite(recorded: Path) -> None:
    result = call("record", recorded)
    assert result.exit_code == 1
    assert "is not overwritten" in result.output


def test_record_needs_a_running_instance(directory: Path, tmp_path: Path) -> None:
    result = call("record", tmp_path / "a.mcap")
    assert result.exit_code == 1
    assert "nothing is running" in result.output
    assert not (tmp_path / "a.mcap").exists()


@pytest.mark.end_to_end
def test_record_joins_a_running_instance_and_ends_the_file_on_ctrl_c(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    bus = ZmqBus(directory)
    supervisor = bus.server("supervisor")
    command = [sys.executable, "-m", "edge_mer.cli.main", "record", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        clock = bus.publisher("clock", "supervisor")
        end = bus.clock.now_us() + DEADLINE_US
        while bus.clock.now_us() < end and not (out.exists() and out.stat().st_size > 4_000):
            clock.send(ClockReport(boot_id="b", offset_us=0, uncertainty_us=0), origin_us=bus.clock.now_us())
            bus.wait(20_000)
            while supervisor.receive() is not None:
                pass
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        bus.close()
    assert process.returncode == 0
    assert "messages of 1 topics, not verifiable: no journal" in output
    session = Session(out)
    assert session.check() == []
    sequence = [m.envelope.seq for m in session.messages("clock")]
    assert sequence == list(range(sequence[0], sequence[-1] + 1)) != []
