"""The clips table counts what a person would see, with and without words, through the real chain."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from calibration.clips import OFF, Clip, Tally, clips, markdown, measure, play, transcript
from edge_mer.contract.messages import WordTime
from edge_mer.contract.raw import SAMPLE_RATE
from pipelines.data.corpora import DEFAULT_ROOT
from tests.client.scene import Scene


class OneWord:
    """Hears one word, which ends after the end of the clip."""

    def begin(self) -> None:
        self.bytes = 0

    def feed(self, pcm: bytes) -> None:
        self.bytes += len(pcm)

    def partial(self) -> None:
        return None

    def end(self) -> tuple[WordTime, ...]:
        return (WordTime("yes", 0, self.bytes * 10**6),)


def noise(path: Path, seconds: float) -> Path:
    sound = np.random.default_rng(0).normal(0, 0.05, round(seconds * SAMPLE_RATE))
    soundfile.write(path, sound, SAMPLE_RATE)
    return path


def test_an_estimate_is_right_wrong_or_withheld_and_none_does_not_count() -> None:
    scene, tally = Scene(), Tally()
    happy, nothing = scene.estimate("v").body, scene.estimate("none").body
    tally.add(happy, "happy")
    tally.add(happy, "sad")
    tally.add(msgspec.structs.replace(happy, label=None, abstain="low confidence"), "happy")
    tally.add(nothing, "happy")
    assert (tally.right, tally.wrong, tally.withheld, tally.likeliest) == (1, 1, 1, 2)
    assert tally.row() == ["0.33", "0.33", "0.33", "0.67", "0.00", "3"]


def test_a_transcript_stays_within_its_clip(tmp_path: Path) -> None:
    made = transcript(OneWord(), noise(tmp_path / "a.wav", 1.0))
    assert made["segments"] == [{"words": [("yes", 0.0, 1.0)]}]
    assert made["duration_s"] == 1.0


def test_words_take_part_only_where_they_are_played(tmp_path: Path) -> None:
    clip = Clip(noise(tmp_path / "a.wav", 2.0), "neutral", "noise")
    words = {"duration_s": 2.0, "segments": [{"words": [["wonderful", 0.1, 0.6], ["news", 0.7, 1.2]]}]}
    for name, played in (("with", words), ("without", None)):
        (tmp_path / name).mkdir()
        combinations = {e.combination for e in play(clip, played, tmp_path / name)}
        assert ("t" in combinations) == (played is not None)


def test_the_table_has_a_row_for_each_group_and_mode() -> None:
    lines = markdown({("g", OFF): Tally(1, 1, 0, 1)}).splitlines()
    assert lines[-1] == "| g | words off | 0.50 | 0.50 | 0.00 | 0.50 | 0.00 | 2 |"
    assert measure([], []) == {}


@pytest.mark.skipif(not (DEFAULT_ROOT / "speech_clips").is_dir(), reason=f"needs {DEFAULT_ROOT}")
def test_every_clip_exists_and_readers_are_neutral() -> None:
    found = list(clips(DEFAULT_ROOT))
    assert len(found) > 30
    assert all(clip.path.is_file() for clip in found)
    assert {clip.truth for clip in found if "read" in clip.group} == {"neutral"}
