"""Scoring an encoder on any labelled data: labels by name, absent classes left out, nothing invented."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import TensorSpec
from pipelines.data import labelled
from pipelines.data.corpora import ACTED, DataError
from pipelines.study import score

F32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Stub:
    """An encoder made of a function of its inputs."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    metadata: Mapping[str, Any]
    function: Callable[[Mapping[str, Any]], dict[str, Any]]
    sha256: str = "ab" * 32

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return self.function(inputs)


def one_hot(i: int, n: int) -> np.ndarray[Any, Any]:
    return np.eye(n, dtype=np.float32)[[i]]


# It says the emotion whose number is the brightness of the crop in tens.
FACE = Stub(
    {"face": TensorSpec((1, 1, 48, 48), F32)},
    {"posterior": TensorSpec((1, 7), F32)},
    {},
    lambda x: {"posterior": 0.9 * one_hot(round(float(x["face"].mean()) * 25.5) % 7, 7) + np.float32(0.1 / 7)},
)
# It says the acted emotion whose number is the loudest frame in steps of 2 nats below -2.
VOICE = Stub(
    {"mel": TensorSpec((1, 156, 64), F32)},
    {n: TensorSpec((1, 8), F32) for n in ("token", "logits", "weight")},
    {"classes": list(ACTED)},
    lambda x: {"logits": 9 * one_hot(int(np.clip((-2 - x["mel"].max()) // 2, 0, 7)), 8), "weight": np.ones((1, 1))},
)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stub], None]:
    return lambda stub: monkeypatch.setattr(score.OnnxRuntime, "load", lambda self, path: stub)


def faces(path: Path, labels: list[str], split: list[str], shown: list[int], names: list[str]) -> Path:
    """An npz like fer2013: picture i shows the emotion ``shown[i]`` to FACE."""
    images = [
        cv2.imencode(".webp", np.full((48, 48), 10 * s, np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1] for s in shown
    ]
    label, offsets = np.array([names.index(n) for n in labels]), np.cumsum([0, *map(len, images)])
    webp = np.concatenate([i.ravel() for i in images])
    np.savez(path, webp=webp, offsets=offsets, label=label, label_names=np.array(names), split=np.array(split))
    return path


def test_the_rows_of_train_are_not_scored_unless_asked_for(use: Any, tmp_path: Path) -> None:
    use(FACE)
    data = faces(tmp_path / "f.npz", ["happy", "sad", "happy"], ["train", "dev", "dev"], [0, 2, 1], ["sad", "happy"])
    found = score.score("face", tmp_path, data)
    assert (found["rows"], found["split"], found["accuracy"]) == (2, "all but train", 1.0)
    assert score.score("face", tmp_path, data, split="train")["rows"] == 1
    with pytest.raises(DataError, match="its splits are dev, train"):
        score.score("face", tmp_path, data, split="test")


def test_absent_classes_are_left_out_of_the_answers_too(use: Any, tmp_path: Path) -> None:
    """Shown 3 (angry), which the data lacks: the rest of the posterior is even, so the first class is taken."""
    use(FACE)
    data = faces(tmp_path / "f.npz", ["joy", "Sadness"], ["dev"] * 2, [1, 3], ["joy", "Sadness"])
    found = score.score("face", tmp_path, data)
    assert found["classes"] == ["happy", "sad"]
    assert found["confusion"] == [[1, 0, 0], [1, 0, 0]]
    assert found["uar"] == 0.5


def test_labels_that_are_none_of_ours_are_counted_not_scored(use: Any, tmp_path: Path) -> None:
    use(FACE)
    data = faces(tmp_path / "f.npz", ["happy", "contempt"], ["dev"] * 2, [1, 1], ["happy", "contempt"])
    found = score.score("face", tmp_path, data)
    assert (found["rows"], found["left_out"]) == (1, {"contempt": 1})


def voices(folder: Path, names: list[str], shown: list[int], index: list[int]) -> Path:
    """An npz like ravdess_av: clip i is as loud as VOICE takes for the acted emotion ``shown[i]``."""
    folder.mkdir(exist_ok=True)
    time = np.arange(8_000) / 16_000
    for i, s in enumerate(shown):
        level = np.exp((-3 - 2 * s) / 2)
        soundfile.write(folder / f"{i}.wav", level * np.sin(2 * np.pi * 1000 * time), 16_000, subtype="FLOAT")
    np.savez(
        folder / "v.npz",
        audio_path=np.array([f"{i}.wav" for i in range(len(shown))]),
        emotion=np.array(index),
        emotion_names=np.array(names),
    )
    return folder


def test_calm_is_a_class_where_data_and_model_have_it_else_neutral(use: Any, tmp_path: Path) -> None:
    use(VOICE)
    both = voices(tmp_path / "eight", ["neutral", "calm", "happy"], [0, 1, 2], [0, 1, 2])
    found = score.score("audio", tmp_path, both)
    assert found["classes"] == ["neutral", "calm", "happy"]
    assert found["accuracy"] == 1.0
    seven = voices(tmp_path / "seven", ["neutral", "happy"], [1, 2], [0, 1])
    found = score.score("audio", tmp_path, seven)
    assert found["classes"] == ["neutral", "happy"]
    assert found["accuracy"] == 1.0
    use(
        Stub(
            VOICE.inputs,
            VOICE.outputs,
            {"classes": [a for a in ACTED if a != "calm"]},
            lambda x: {"logits": one_hot(0, 7), "weight": np.ones((1, 1))},
        )
    )
    assert score.score("audio", tmp_path, both)["classes"] == ["neutral", "happy"]


def recordings(folder: Path, rows: list[tuple[str, str]]) -> Path:
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "emotion"), *rows])
    return folder


def test_a_folder_of_recordings_at_any_rate(use: Any, tmp_path: Path) -> None:
    use(VOICE)
    time = np.arange(44_100) / 44_100
    both = np.stack([np.sin(2 * np.pi * 1000 * time)] * 2, 1) * np.exp(-3.5)
    soundfile.write(tmp_path / "a.flac", both, 44_100)
    found = score.score("audio", tmp_path, recordings(tmp_path, [("a.flac", "HAP"), ("a.flac", "happiness")]))
    assert (found["rows"], found["classes"], found["accuracy"]) == (2, ["happy"], 1.0)


def test_what_cannot_be_answered_is_wrong_and_counted(use: Any, tmp_path: Path) -> None:
    use(FACE)
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((90, 90, 3), 10, np.uint8))
    found = score.score("face", tmp_path, recordings(tmp_path, [("wall.png", "happy")]))
    assert (found["unanswered"], found["accuracy"], found["confusion"]) == (1, 0.0, [[0, 1]])
    use(VOICE)
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16_000)
    assert score.score("audio", tmp_path, recordings(tmp_path, [("short.wav", "sad")]))["unanswered"] == 1


def test_texts_are_read_by_the_head_of_their_domain(tmp_path: Path) -> None:
    (tmp_path / "go.csv.gz").write_bytes(gzip.compress(b"id,text,ekman\n1,so happy,joy\n2,hm,joy neutral\n"))
    (tmp_path / "meld.csv").write_bytes("Utterance,Emotion\nYou\x92re mad,anger\n".encode())
    go, meld = (labelled.read("text", tmp_path / name) for name in ("go.csv.gz", "meld.csv"))
    assert (go.domain, [r.content() for r in go.rows], go.left_out) == ("comment", ["so happy"], {"joy neutral": 1})
    assert (meld.domain, [r.content() for r in meld.rows], meld.rows[0].label) == ("dialogue", ["You're mad"], "angry")
    (tmp_path / "one.txt").write_text("no!")
    folder = labelled.read("text", recordings(tmp_path, [("one.txt", "fear")]))
    assert (folder.domain, folder.rows[0].content()) == ("dialogue", "no!")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"no zip", "an npz holds pictures or voices"),
        ("x.csv.gz", b"\x1f\x8b\x08no", "no UTF-8 table"),
        ("x.csv", b"a,b\n1,2\n", "its columns are a, b; text needs path and emotion, or Utterance"),
        ("x.csv", b"Utterance,Emotion\nhm,contempt\n", "no row with one of the labels"),
        ("x.csv", b"\xff\xfe\x00", "no UTF-8 table"),
        ("x.txt", b"", r"expected \.npz, \.csv"),
        ("absent.csv", None, "is absent"),
    ],
)
def test_data_that_does_not_fit_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        labelled.read("text", tmp_path / name)


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04 cut short"])
def test_a_damaged_npz_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="no npz file"):
        labelled.read("face", tmp_path)


def test_a_label_without_a_name_is_named(tmp_path: Path) -> None:
    empty = np.zeros(0, np.uint8)
    np.savez(tmp_path / "x.npz", webp=empty, offsets=np.zeros(2), label=np.array([3]), label_names=np.array(["sad"]))
    with pytest.raises(DataError, match="label counts up to 3, label_names names 1"):
        labelled.read("face", tmp_path / "x.npz")


@pytest.mark.parametrize(("kind", "name"), [("audio", "wav"), ("face", "mp4"), ("face", "png"), ("text", "txt")])
def test_a_damaged_recording_is_named(tmp_path: Path, kind: labelled.Kind, name: str) -> None:
    (tmp_path / f"bad.{name}").write_bytes(b"\xff\x00\x01" * 50)
    row = labelled.read(kind, recordings(tmp_path, [(f"bad.{name}", "sad")])).rows[0]
    with pytest.raises(DataError, match=f"bad.{name}"):
        list(row.content())


def test_a_model_without_the_outputs_for_scoring_is_refused(use: Any, tmp_path: Path) -> None:
    use(FACE)
    with pytest.raises(ModelError, match="no output logits, weight"):
        score.score("audio", tmp_path, tmp_path)


def test_the_npz_of_another_kind_is_refused(use: Any, tmp_path: Path) -> None:
    use(VOICE)
    data = faces(tmp_path / "f.npz", ["happy"], ["dev"], [1], ["happy"])
    with pytest.raises(DataError, match="audio needs the arrays audio_path"):
        score.score("audio", tmp_path, data)


def test_the_command_prints_one_json_object(use: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    use(FACE)
    data = faces(tmp_path / "f.npz", list(EMOTIONS), ["dev"] * 7, list(range(7)), list(EMOTIONS))
    monkeypatch.setattr("sys.argv", ["score", "face", str(tmp_path), "--data", str(data)])
    score.main()
    shown = json.loads(capsys.readouterr().out)
    assert [row[:-1] for row in shown["confusion"]] == np.eye(7, dtype=int).tolist()
    assert shown["macro_f1"] == shown["weighted_f1"] == shown["uar"] == shown["accuracy"] == 1.0
    monkeypatch.setattr("sys.argv", ["score", "face", str(tmp_path), "--data", str(tmp_path / "absent")])
    with pytest.raises(SystemExit, match=r"error: .*absent"):
        score.main()
