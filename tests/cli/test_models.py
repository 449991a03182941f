"""``edge-mer models``: which models exist, under which licence, and whether they are intact."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_mer.capture.asr import whisper_files
from edge_mer.capture.asr.whisper_files import WhisperModel
from edge_mer.cli.main import app
from edge_mer.runtime.catalogue import SUMS, faults, sums, write_sums
from edge_mer.runtime.select import SHIPPED


def edge_mer(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "models")


def at(directory: Path) -> tuple[str, str]:
    return "--set", f"models.directory={directory}"


def test_list_shows_every_shipped_model_with_its_licence() -> None:
    rows = [json.loads(line) for line in edge_mer("list", "--json").stdout.splitlines()]
    assert {e["name"] for e in rows} == set(sums(SHIPPED))
    assert all(e["licence"] and e["bytes"] and len(e["sha256"]) == 64 for e in rows)
    assert sum(e["bytes"] for e in rows) <= 30e6


def test_shipped_models_are_intact() -> None:
    result = edge_mer("check")
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.output


def test_changed_missing_and_unlisted_files_are_found(copy: Path) -> None:
    face = copy / "face.onnx"
    face.write_bytes(face.read_bytes()[:-1] + b"\x00")
    (copy / "text.vocab").unlink()
    shutil.copy(copy / "speech.onnx", copy / "mine.onnx")
    result = edge_mer("check", *at(copy))
    assert result.exit_code == 1
    wrong = {line.split()[1]: line for line in result.output.splitlines() if line.startswith("FAIL")}
    assert {"face.onnx", "text.vocab", "mine.onnx"} <= set(wrong)
    assert "changed" in wrong["face.onnx"]
    assert "absent" in wrong["text.vocab"]
    assert "not listed" in wrong["mine.onnx"]


def test_a_fusion_graph_beside_another_encoder_is_found(copy: Path) -> None:
    """The hashes of the files are right, but the files do not belong together."""
    shutil.copy(copy / "speech.onnx", copy / "audio.onnx")
    write_sums(copy)
    assert "another encoder of audio" in faults(copy)["fusion.a.onnx"]
    assert "fusion.t.onnx" not in faults(copy)


def test_without_the_list_of_hashes_the_check_fails(copy: Path) -> None:
    (copy / SUMS).unlink()
    result = edge_mer("check", *at(copy))
    assert result.exit_code == 1
    assert SUMS in result.output


def test_large_models_named_by_the_config_are_listed_and_checked() -> None:
    result = edge_mer("check", "--set", "perception.text=nobody/nothing")
    assert result.exit_code == 1
    assert "edge-mer models pull nobody/nothing" in result.output


def test_check_as_json_gives_each_file_its_fault(copy: Path) -> None:
    (copy / "face.onnx").unlink()
    shutil.copy(copy / "speech.onnx", copy / "mine.onnx")
    rows = {
        row["name"]: row["fault"] for row in map(json.loads, edge_mer("check", "--json", *at(copy)).stdout.splitlines())
    }
    assert rows["speech.onnx"] is None
    assert "absent" in rows["face.onnx"]
    assert "not listed" in rows["mine.onnx"]


@pytest.mark.parametrize("words", [("pull",), ("list", "x"), ("check", "x"), ("fetch",)])
def test_wrong_arguments_are_wrong_usage(words: tuple[str, ...]) -> None:
    assert edge_mer(*words).exit_code == 2


def test_pull_without_a_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    result = edge_mer("pull", "microsoft/wavlm-base")
    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert "Traceback" not in result.output


def test_a_whisper_model_is_pulled_from_a_folder_and_only_such_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"config.json": b"{}", "model.bin": b"weights", "tokenizer.json": b"pieces"}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(whisper_files.MODELS, "whisper-tiny.en", WhisperModel("http://127.0.0.1:1/", hashes, {}))
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    result = edge_mer("pull", "whisper-tiny.en", "--from", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["folder"] == str(whisper_files.find("whisper-tiny.en"))
    result = edge_mer("pull", "microsoft/wavlm-base", "--from", str(tmp_path))
    assert result.exit_code == 2
    assert "--from" in result.output
