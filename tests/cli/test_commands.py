"""The command line: help, exit codes, and one clear line when something is wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from edge_mer import __version__
from edge_mer.cli.examples import EXAMPLES
from edge_mer.cli.main import COMMANDS, EXIT_CODES, app
from edge_mer.cli.typer_apps import PlainGroup, first_line
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.services import SERVICES

PROGRAM = (sys.executable, "-m", "edge_mer")


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
    listed = invoke("--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
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


def test_the_version_is_shown() -> None:
    assert invoke("--version").stdout == f"edge-mer {__version__}\n"


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "edge_mer", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"edge-mer {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [(("maks",), "mask"), (("keys", "pari"), "pair"), (("session", "inf"), "info")]
)
def test_a_misspelt_command_is_answered_with_the_nearest(typed: tuple[str, ...], meant: str) -> None:
    result = invoke(*typed)
    assert (result.exit_code, f"did you mean {meant}?" in result.stderr) == (2, True)


@pytest.mark.parametrize("path", [(), *paths()], ids=" ".join)
def test_help_ends_with_examples_of_the_command(path: tuple[str, ...]) -> None:
    shown = [line.strip() for line in invoke(*path, "--help").stdout.partition("Examples:\n")[2].splitlines()]
    assert shown == list(EXAMPLES[path])
    assert all(line.startswith(" ".join(("edge-mer", *path))) for line in shown)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_can_be_parsed(line: str) -> None:
    command, (_, *words) = get_command(app), shlex.split(line)
    while isinstance(command, PlainGroup) and words and (found := command.get_command(None, words[0])) is not None:
        command, words = found, words[1:]
    command.make_context("example", words)  # raises for an unknown option or a missing argument


def test_the_exit_codes_of_errors_are_documented() -> None:
    assert {kind.exit_code for kind in kinds(EdgeMerError)} <= set(EXIT_CODES)
    shown = invoke("--help").stdout
    assert all(meaning in shown for meaning in EXIT_CODES.values())


def kinds(error: type[EdgeMerError]) -> Iterator[type[EdgeMerError]]:
    yield error
    for kind in error.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize(
    ("options", "level"),
    [(("-v",), "info"), (("-vv",), "debug"), (("-q",), "error"), (("--log-level", "warning"), "warning")],
)
def test_the_log_level_reaches_the_worker_processes(
    options: tuple[str, ...], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_MER_LOG", "")
    assert invoke(*options, "config").exit_code == 0
    assert os.environ["EDGE_MER_LOG"] == level


@pytest.mark.parametrize(
    "arguments",
    [("--record", "/no/such/folder/a.mcap"), ("--picture", "/no/such/folder/a.svg"), ("--media", "/tmp")],
)
def test_a_place_that_is_not_there_fails_before_anything_starts(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_mer.demo.play.Instance", None)
    result = invoke("demo", *arguments)
    assert (result.exit_code, arguments[1].rpartition("/")[0] in result.stderr) == (1, True)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("edge-mer dem", ["demo"]), ("edge-mer keys ", ["list", "new", "pair", "allow", "revoke"])],
)
def test_bash_completes_what_is_typed(typed: str, expected: list[str]) -> None:
    script = subprocess.run([*PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    assert "_EDGE_MER_COMPLETE=complete_bash" in script
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_EDGE_MER_COMPLETE": "complete_bash"}
    answer = subprocess.run(PROGRAM, capture_output=True, text=True, check=True, env={**os.environ, **asked})
    assert answer.stdout.split() == expected


@pytest.mark.parametrize("content", [None, b"this is no session"])
def test_what_is_no_session_is_not_called_different(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "day.mcap"
    if content is not None:
        file.write_bytes(content)
    result = invoke("replay", str(file), "--verify")
    assert result.exit_code == 1
    assert "NOT identical" not in result.output
    assert str(file) in result.output
