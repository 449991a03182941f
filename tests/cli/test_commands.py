"""Commands as people type them: exit codes, and one clear line when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner, Result

from edge_mer.cli.main import COMMANDS, app
from edge_mer.contract.services import SERVICES


@pytest.fixture(autouse=True)
def _nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
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
def test_every_command_explains_itself(name: str) -> None:
    assert invoke(name, "--help").exit_code == 0


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
        ("bench", "--only", "everything"),
        ("hz", "--seconds", "never"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
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


def test_devices_says_in_plain_words_what_there_is() -> None:
    result = invoke("devices")
    assert result.exit_code == 0
    assert "microphones" in result.stdout
    assert "cameras" in result.stdout


def test_doctor_says_no_when_a_model_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    (tmp_path / "models").mkdir()
    config.write_text(f'[models]\ndirectory = "{tmp_path / "models"}"\n[privacy]\nstate = "{tmp_path / "state"}"\n')
    result = invoke("doctor", "--config", str(config))
    assert result.exit_code == 1
    assert "NO  audio.onnx is missing" in result.stdout
    assert result.stdout.endswith("edge-mer demo cannot run\n")


def test_doctor_is_content_with_this_installation(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[privacy]\nstate = "{tmp_path / "state"}"\n')
    result = invoke("doctor", "--config", str(config))
    assert result.exit_code == 0, result.stdout
