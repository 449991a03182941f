"""The check for domain shift on real clips says what the encoders really do there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.study import domain_shift as shift

MODELS = Path(__file__).parents[2] / "edge_mer" / "models"
ROOT = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"real recordings are absent: {ROOT}")


@pytest.fixture(scope="module")
def videos() -> dict[str, dict[str, int]]:
    return {line["video"]: line for line in shift.presence(ROOT, MODELS, None)}


def share(line: dict[str, int]) -> float:
    return line.get("face", 0) / line["token frames"]


def test_a_face_is_there_where_it_is_and_nowhere_else(videos: dict[str, dict[str, int]]) -> None:
    assert share(videos["pyfeat_no_face.mp4"]) == 0
    for name in ("pyfeat_single_face.mp4", "pyfeat_WolfgangLanger_Pexels.mp4", "fer_woman2.mp4"):
        assert share(videos[name]) > 0.9


@pytest.mark.parametrize("name", ["pyfeat_face_noface.mov", "pyfeat_noface_face.mov"])
def test_a_face_that_leaves_or_enters_is_there_half_of_the_time(videos: dict[str, dict[str, int]], name: str) -> None:
    assert 0.25 < share(videos[name]) < 0.6


def test_voices_are_found_in_recordings_of_any_rate() -> None:
    voiced = {line["speech"]: line["voiced"] for line in shift.voices(ROOT, MODELS)}
    assert len(voiced) == 25
    assert min(voiced.values()) > 0.3
