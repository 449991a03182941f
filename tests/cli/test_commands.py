"""The command line: help, exit codes, and one clear line when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from edge_mer.cli.main import COMMANDS, app
from edge_mer.cli.typer_apps import PlainGroup, first_line
from edge_mer.contract.services import SERVICES


@pytest.fixture(autouse=True)
def _no_files_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with TemporaryDirectory(prefix="em", dir="/tmp") as short:  # a socket path has at most 107 bytes
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_the_help_of_its_row(name: str) -> None:
    command = get_command(app).get_command(None, name)
    assert first_line(command.help) == COMMANDS[name].help
    for sub, row in getattr(command, "rows", {}).items():
        assert first_line(command.get_command(None, sub).help) == row.help


def paths() -> list[tuple[str, ...]]:
    """Every command and sub-command."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = get_command(app).get_command(None, name)
        found.append((name,))
        if isinstance(command, PlainGroup):
            found += [(name, sub) for sub in command.list_commands(None)]
    return found


@pytest.mark.parametrize("path", [(), *paths()], ids=" ".join)
def test_help_is_plain_whole_and_without_shell_completion(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: root {' '.join(path)}".rstrip())
    for sign in ("╭", "│", "--install-completion", "--show-completion", "...\n"):
        assert sign not in result.stdout.partition("\n")[2], sign


def test_the_list_of_commands_takes_one_line_each() -> None:
    listed = invoke("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_no_command_and_no_heavy_library() -> None:
    found = imported("from edge_mer.cli.main import app\napp(['--help'], standalone_mode=False)")
    assert not found & {row.module for row in COMMANDS.values()}
    assert not found & {"numpy", "pydantic", "zmq", "rich", "cv2", "av", "onnxruntime", "tomlkit", "msgspec"}


OPTIONAL = {"aiohttp", "evdev", "gpiod", "paho", "pocketsphinx", "prometheus_client", "pyarrow", "ray", "sounddevice"}
OPTIONAL |= {"cuda", "tensorrt", "tensorrt_rtx", "torch", "transformers"}
# These ask a running instance or read a file; they must be quick.
QUICK = {"status", "mask", "unmask", "receipts", "keys", "page", "devices", "config", "session", "tap", "hz", "schema"}


@pytest.mark.parametrize("name", COMMANDS)
def test_importing_a_command_imports_no_optional_library(name: str) -> None:
    found = imported(f"import {COMMANDS[name].module}")
    assert not found & OPTIONAL
    if name in QUICK:
        assert not found & {"rich", "cv2", "av"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("mask",),
        ("mask", "smell"),
        ("unmask", "audio", "taste"),
        ("tap",),
        ("tap", "emotoin"),
        ("schema", "emotoin"),
        ("nonsense",),
        ("config", "--set", "video.fps"),
        ("engine", "polish"),
        ("soak", "everything"),
        ("bench", "--only", "everything"),
        ("hz", "--seconds", "never"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_an_unknown_topic_is_answered_with_the_nearest() -> None:
    assert "did you mean emotion?" in invoke("tap", "emotoin").stderr


@pytest.mark.parametrize("arguments", [("status",), ("mask", "audio"), ("unmask", "audio"), ("hz",), ("tap", "health")])
def test_nothing_running_is_one_clear_line(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("edge-mer: nothing is running in ")
    assert "edge-mer run" in result.stderr
    assert "Traceback" not in result.output


def test_schema_of_every_public_topic_is_versioned() -> None:
    schemas = json.loads(invoke("schema").stdout)
    assert set(schemas) == {s.topic for s in SERVICES.values() if s.public}
    assert all(schemas[topic]["$id"] == SERVICES[topic].schema for topic in schemas)


def test_the_schema_of_an_estimate_marks_delivery_fields() -> None:
    schema = json.loads(invoke("schema", "emotion").stdout)
    delivery = {name for name, p in schema["properties"].items() if p.get("x-part") == "delivery"}
    assert delivery == {"boot", "seq", "created_us", "runtime", "latency_ms"}
    assert {"combination", "origin_us", "probabilities"} <= set(schema["required"])


def test_a_missing_clip_fails_before_anything_starts() -> None:
    result = invoke("demo", "--media", "/no/such/clip.mp4")
    assert (result.exit_code, result.stderr) == (1, "edge-mer: /no/such/clip.mp4: no such file\n")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_text("precious")
    assert invoke("demo", "--record", str(path)).exit_code == 1
    assert path.read_text() == "precious"


def test_devices_lists_microphones_and_cameras() -> None:
    result = invoke("devices")
    assert result.exit_code == 0
    assert "microphones" in result.stdout
    assert "cameras" in result.stdout


def test_doctor_fails_when_a_model_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    (tmp_path / "models").mkdir()
    config.write_text(f'[models]\ndirectory = "{tmp_path / "models"}"\n[privacy]\nstate = "{tmp_path / "state"}"\n')
    result = invoke("doctor", "--config", str(config))
    assert result.exit_code == 1
    assert "NO  audio.onnx is missing" in result.stdout
    assert result.stdout.endswith("edge-mer demo cannot run\n")


def test_doctor_passes_on_this_installation(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[privacy]\nstate = "{tmp_path / "state"}"\n')
    result = invoke("doctor", "--config", str(config))
    assert result.exit_code == 0, result.stdout
