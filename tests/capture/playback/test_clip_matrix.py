"""A sample of the clip matrix: the same content gives the same estimates, however it is stored."""

from __future__ import annotations

import pytest

from tests.capture.playback.clip_matrix import ALLOWED, Matrix, Variant, variants

SAMPLE = (
    Variant("mov", "libx264", "pcm_s16le", 44_100, "mono", 90),
    Variant("mov", "libx264", "pcm_s16le", 48_000, "mono", "mirror"),
    Variant("mkv", "ffv1", "flac", 48_000, "stereo", jump=7200.0),
)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return Matrix.of(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("variant", SAMPLE, ids=lambda v: v.name)
def test_a_clip_gives_the_estimates_of_its_plain_twin(matrix: Matrix, variant: Variant) -> None:
    assert matrix.difference(variant) <= ALLOWED


def test_the_matrix_has_sixty_different_clips() -> None:
    found = list(variants())
    assert len({v.name for v in found}) == len(found) == 60
    assert set(SAMPLE) <= set(found)
