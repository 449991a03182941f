"""RAVDESS clips from a small set of its layout: right-aligned tokens that carry what the clip tells as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.data import cache
from pipelines.data.corpora import DataError
from pipelines.data.sequences import courses, of_ravdess

RATE, STATS = 16_000, np.ones((3, 5), np.float32)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """Three clips of 1, 2 and 1.05 s; of the last no face was found."""
    random = np.random.default_rng(0)
    for i, seconds in enumerate((1.0, 2.0, 1.05)):
        tone = np.sin(2 * np.pi * 200 * np.arange(int(RATE * seconds)) / RATE) * 0.1
        soundfile.write(tmp_path / f"{i}.flac", tone + random.normal(size=len(tone)) * 0.01, RATE)
    faces = random.dirichlet(np.ones(7), 24 + 48).astype(np.float16)
    return {
        "audio_path": np.array(["0.flac", "1.flac", "2.flac"]),
        "visual_seq": faces,
        "visual_offsets": np.array([0, 24, 72, 72]),
        "visual_frame": np.concatenate([np.arange(24), np.arange(48)]) + 26,
    }


def test_each_token_of_a_voice_carries_its_clip(table: dict[str, Any], tmp_path: Path) -> None:
    vector, (tokens, mask, age) = of_ravdess("audio", table, tmp_path / "set.npz", STATS)
    assert vector.shape == (3, 5 + 521)
    assert tokens.shape == (3, 16, 128 + 5 + 521)
    assert mask.sum(1).tolist() == [8, 16, 8]
    assert (mask[0, :8] == 0).all(), "the newest is the last"
    assert (tokens[:, -1, 128:] == vector).all()
    assert age[1, 0] == pytest.approx(15 * 0.125)
    again, _ = of_ravdess("audio", table, tmp_path / "set.npz", STATS)
    assert np.array_equal(again, vector)


def test_a_clip_without_a_face_has_no_token_and_no_course(table: dict[str, Any], tmp_path: Path) -> None:
    vector, (tokens, mask, _) = of_ravdess("video", table, tmp_path / "set.npz", STATS)
    assert vector.shape == (3, 5 + 112)
    assert tokens.shape[2] == 14 + 5 + 112
    assert mask.sum(1).tolist() == [4, 8, 0]
    assert not vector[2, 5:].any()


def test_the_course_tells_a_rising_emotion_from_a_falling_one(table: dict[str, Any]) -> None:
    rising = np.linspace(0.01, 0.9, 24, dtype=np.float16)
    table["visual_seq"][:24] = (1 - rising[:, None]) / 6
    table["visual_seq"][:24, 3] = rising
    up = courses(table)[0]
    table["visual_seq"][:24] = table["visual_seq"][:24][::-1].copy()
    down = courses(table)[0]
    assert np.abs(up - down).max() > 0.1
    assert np.allclose(up[:14], down[:14], atol=1e-5), "mean and deviation are the same"


def test_an_absent_sound_file_is_named(table: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "1.flac").unlink()
    with pytest.raises(DataError, match=r"audio_path row 1: .*1\.flac is absent"):
        of_ravdess("audio", table, tmp_path / "set.npz", STATS)
