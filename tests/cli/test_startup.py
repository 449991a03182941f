"""What a configuration names is checked before anything starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_mer.cli import startup
from edge_mer.cli.main import app
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError, EdgeMerError, MissingExtra, SessionError
from edge_mer.demo.config import SESSION


def config(**sections: dict[str, Any]) -> Config:
    return Config.model_validate({"text": {"source": "off"}, **sections})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_default_configuration_can_start() -> None:
    startup.check_start(config())


def test_a_port_that_is_taken_is_named(taken: int) -> None:
    with pytest.raises(ConfigError, match=rf"page\.address = http://127\.0\.0\.1:{taken}: Address already in use"):
        startup.check_start(config(page={"address": f"http://127.0.0.1:{taken}"}))
    for key in ("publish", "requests"):
        with pytest.raises(ConfigError, match=rf"hub\.{key} = 'tcp://127\.0\.0\.1:{taken}'"):
            startup.check_start(config(hub={key: f"tcp://127.0.0.1:{taken}"}))


def test_a_free_port_is_still_free_after_the_check(taken: int) -> None:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    for _ in range(2):
        startup.check_start(config(hub={"publish": f"tcp://127.0.0.1:{port}"}))


@pytest.mark.parametrize(
    ("sections", "package", "extra"),
    [
        ({"page": {"address": "http://127.0.0.1:0"}}, "aiohttp", "hub"),
        ({"mqtt": {"address": "mqtt://broker:1883"}}, "paho", "hub"),
        ({"text": {"source": "asr", "engine": "pocketsphinx"}}, "pocketsphinx", "asr-lite"),
        ({"button": {"source": "gpio:/dev/gpiochip0:17"}}, "gpiod", "gpio"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    sections: dict[str, dict[str, Any]], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "is_installed", lambda name: name != package)
    with pytest.raises(MissingExtra, match=rf"{package}, which is not installed; run: .* 'edge-mer\[{extra}\]'"):
        startup.check_start(config(**sections))


def test_without_the_default_recogniser_words_are_off_and_a_chosen_one_must_be_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setattr(startup, "is_installed", lambda name: False)
    assert startup.without_missing_words(*load()).text.source == "off"
    assert "words are off: pocketsphinx is not installed; run: " in capsys.readouterr().err
    chosen = startup.without_missing_words(*load(None, {"text": {"engine": "pocketsphinx"}}))
    with pytest.raises(MissingExtra):
        startup.check_start(chosen)


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"audio": {"source": "file"}}, r"file\.path is not set"),
        ({"audio": {"source": "file"}, "file": {"path": "/nothere.mp4"}}, r"/nothere\.mp4: no such file"),
        ({"video": {"source": "file"}, "file": {"path": "/etc/passwd"}}, "/etc/passwd is damaged or no media file"),
        ({"video": {"source": "file"}, "file": {"path": "/tmp"}}, "/tmp"),
        ({"perception": {"yunet": "/nothere.onnx"}}, r"perception\.yunet = /nothere\.onnx: no such file"),
        ({"mqtt": {"password_file": "/nothere"}}, r"mqtt\.password_file"),
        ({"models": {"directory": "/nothere"}}, r"models\.directory"),
        ({"record": {"path": "/nothere/a.mcap"}}, "/nothere is not a folder"),
        ({"page": {"address": "http://192.168.1.5:7653"}}, r"page\.certificate"),
    ],
)
def test_what_is_not_there_is_named(sections: dict[str, dict[str, Any]], fault: str) -> None:
    with pytest.raises(EdgeMerError, match=fault):
        startup.check_start(config(**sections))


def test_a_transcript_is_read_where_it_plays_with_a_file() -> None:
    wanted = {"audio": {"source": "file"}, "file": {"path": str(SESSION)}}
    with pytest.raises(ConfigError, match=r"text\.path is not set"):
        startup.check_start(config(**wanted, text={"source": "recorded"}))


@pytest.mark.parametrize("there", ["folder", "finished"])
def test_no_recording_replaces_what_is_there(there: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.mkdir() if there == "folder" else path.write_text("something else")
    with pytest.raises(SessionError):
        startup.check_recording(path)


def test_run_with_a_fault_asks_for_no_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["run", "--set", "models.directory=/nothere"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert os.listdir(tmp_path) == []
