"""The command line of training: an option that the named training does not have is refused, not ignored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import train
from pipelines.encoders import distil as fold
from pipelines.encoders import face


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pipelines.train", *arguments])
    train.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ear",), "neither one of speech, audio, face, text, dialogue, voice, fusion"),
        (("voice", "--epochs", "2"), "--epochs is not of voice"),
        (("audio", "--fold", "runs/0"), "--fold is of face"),
        (("audio", "--settle"), "--settle is of fusion"),
        (("face", "--fold", "runs/0", "--settle"), "--settle is of fusion"),
        (("mosi.toml", "--epochs", "2"), "--epochs is not of a TOML file"),
        (("mosi.toml", "--fold", "runs/0"), "--fold is of face"),
    ],
)
def test_misplaced_option_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert (stopped.value.code, message in capsys.readouterr().err) == (2, True)


def test_options_reach_the_training_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for module in (face, fold):
        name = module.__name__
        monkeypatch.setattr(module, "train", lambda *a, name=name, **k: got.append((name, a, k)))
    where = (Path("data"), Path("out"))
    common = ("--data", "data", "--out", "out", "--seed", "3")
    run(monkeypatch, "face", *common)
    run(monkeypatch, "face", *common, "--fold", "runs/0", "runs/1")
    monkeypatch.setattr(train, "experiment", lambda *a, **k: got.append(("experiment", a, k)))
    run(monkeypatch, "fusion", *common, "--models", "made", "--epochs", "6")
    assert got == [
        ("pipelines.encoders.face", where, {"seed": 3}),
        ("pipelines.encoders.distil", (*where, [Path("runs/0"), Path("runs/1")]), {"seed": 3}),
        ("experiment", (train.STARTER, *where, Path("made")), {"seed": 3, "epochs": (4, 2, 0)}),
    ]


def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*face\.pt is absent; run: python -m pipelines\.train face"):
        run(monkeypatch, "face", "--out", str(tmp_path / "out"), "--fold", str(tmp_path))
