"""``edge-mer session`` and the options of ``replay`` as a user or a script calls them."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.cli.main import app
from edge_mer.cli.replay import steer
from edge_mer.client.keyboard import Keyboard
from edge_mer.contract.clock import FakeClock
from edge_mer.session.player import Player
from edge_mer.session.reader import Session
from tests.session.golden import GOLDEN
from tests.session.stage import FAKE, Home, record_run


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_mer.session.replay_components.installed", lambda *_, **__: FAKE)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("commands") / "a.mcap", seed=7, steps=60)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A sealed session with its keys in the default store."""
    home = Home(
        tmp_path / "sealed.mcap",
        seed=3,
        encrypt=True,
        keys=str(Path(os.environ["XDG_STATE_HOME"]) / "edge_mer" / "session_keys"),
    )
    for _ in range(40):
        home.step()
    return home.finish()


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


class TestInfo:
    def test_info_lists_the_content(self, recorded: Path) -> None:
        result = call("session", "info", recorded)
        assert result.exit_code == 0
        for word in ("finished     yes", "feature/audio", "models", "digests", "threads"):
            assert word in result.output

    def test_info_as_json_with_check(self, recorded: Path) -> None:
        facts = json.loads(call("session", "info", recorded, "--check", "--json").output)
        assert facts["faults"] == []
        assert facts["messages"]["journal"] == facts["entries"]

    def test_damage_is_named_and_exits_1(self, recorded: Path, tmp_path: Path) -> None:
        data = bytearray(recorded.read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "bad.mcap").write_bytes(data)
        result = call("session", "info", tmp_path / "bad.mcap", "--check")
        assert result.exit_code == 1
        assert "faults" in result.output

    def test_missing_file_is_one_clear_line(self, tmp_path: Path) -> None:
        result = call("session", "info", tmp_path / "none.mcap")
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "No such file" in result.output


class TestErase:
    def test_erased_key_is_reported_by_every_command(self, sealed: Path) -> None:
        assert call("replay", sealed, "--verify").exit_code == 0
        result = call("session", "erase", sealed, "--modality", "audio")
        assert result.exit_code == 0, result.output
        assert "audio: its key is destroyed" in result.output
        assert "erased" in call("session", "info", sealed).output
        verified = call("replay", sealed, "--verify")
        assert verified.exit_code == 1
        assert "audio was erased" in verified.output
        assert "was erased before" in call("session", "erase", sealed, "--modality", "audio").output
        assert "video" not in Session(sealed).trailer.counters  # type: ignore[union-attr]

    def test_unsealed_session_cannot_be_erased(self, recorded: Path) -> None:
        result = call("session", "erase", recorded, "--modality", "audio")
        assert result.exit_code == 1
        assert "delete the file" in result.output

    def test_an_unknown_modality_is_wrong_usage(self, sealed: Path) -> None:
        assert call("session", "erase", sealed, "--modality", "smell").exit_code == 2


def test_recover_trim_and_export_write_and_report_their_files(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mcap").write_bytes(recorded.read_bytes()[:20_000])
    result = call("session", "recover", tmp_path / "cut.mcap", tmp_path / "good.mcap")
    assert result.exit_code == 0
    assert "damaged: byte" in result.output
    assert Session(tmp_path / "good.mcap").check() == []
    assert call("session", "trim", recorded, tmp_path / "part.mcap", "--to", 2).exit_code == 0
    assert Session(tmp_path / "part.mcap").finished
    assert "estimates" in call("session", "export", recorded, tmp_path / "a.csv").output
    again = call("session", "export", recorded, tmp_path / "a.csv")
    assert (again.exit_code, "is not overwritten" in again.output) == (1, True)
    assert call("session", "export", recorded, tmp_path / "a.xyz").exit_code == 2
    missing = call("session", "export", recorded, tmp_path / "a.wav")
    assert (missing.exit_code, "holds no raw audio" in missing.output) == (1, True)
    assert not (tmp_path / "a.wav").exists()


def test_score_prints_a_table_or_json(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("start,end,label,sentiment\n0,60,happy,1\n")
    result = call("session", "score", recorded, "--labels", tmp_path / "labels.csv")
    assert result.exit_code == 0, result.output
    assert result.output.split()[0] == "combination"
    rows = call("session", "score", recorded, "--labels", tmp_path / "labels.csv", "--json").output.splitlines()
    assert json.loads(rows[-1])["combination"] == "all"
    (tmp_path / "labels.csv").write_text("start,end,label\n9000,9001,happy\n")
    nothing = call("session", "score", recorded, "--labels", tmp_path / "labels.csv")
    assert (nothing.exit_code, "no final estimate" in nothing.output) == (1, True)


@pytest.mark.parametrize(
    "options", [("--verify", "--from", "1"), ("--verify", "--loop"), ("--tolerance", "1"), ("--no-perception",)]
)
def test_options_that_do_not_go_together_are_wrong_usage(recorded: Path, options: tuple[str, ...]) -> None:
    assert call("replay", recorded, *options).exit_code == 2


class TestKeys:
    @pytest.fixture
    def player(self) -> Player:
        return Player(Session(GOLDEN), MemoryBus(MemoryBroker(), FakeClock()))

    def test_space_pauses_and_resumes(self, player: Player) -> None:
        steer(player, " ")
        assert player.paused
        steer(player, " ")
        assert not player.paused

    def test_arrows_seek_and_plus_and_minus_change_speed(self, player: Player) -> None:
        steer(player, "right")
        assert player.position_us == 5_000_000
        steer(player, "left")
        assert player.position_us == 0
        steer(player, "+")
        assert player.speed == 2.0
        for _ in range(20):
            steer(player, "-")
        assert player.speed == 1 / 64

    def test_keys_are_read_from_a_terminal_and_its_settings_are_restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import termios

        ours, theirs = pty.openpty()
        with open(theirs) as terminal:
            monkeypatch.setattr("sys.stdin", terminal)
            monkeypatch.setattr("os.tcgetpgrp", lambda fd: os.getpgrp())
            before = termios.tcgetattr(theirs)
            with Keyboard() as keyboard:
                assert keyboard.pressed() == []
                os.write(ours, b" \x1b[C\x1b[Dq")
                found: list[str] = []
                while len(found) < 4:
                    found += keyboard.pressed()
                assert found == [" ", "right", "left", "q"]
                assert keyboard.wake == (theirs,)
            assert termios.tcgetattr(theirs) == before
        os.close(ours)

    def test_without_a_terminal_no_keys_are_read(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        with (tmp_path / "x").open("w+") as file:
            monkeypatch.setattr("sys.stdin", file)
            with Keyboard() as keyboard:
                assert (keyboard.wake, keyboard.pressed()) == ((), [])
