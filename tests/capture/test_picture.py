"""A frame becomes an upright picture with square pixels: the whole display matrix, the aspect ratio, fixed turns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge_mer.capture.picture import display_matrix, picture, posed, square_pixels, turned
from tests.capture.media import make_clip, with_matrix

F = 1 << 16
# What a corner pixel of a 2 x 4 picture becomes; the matrices are those of a front camera, a phone and a scanner.
POSES = {
    "as it is": ((F, 0, 0, F), (0, 0)),
    "front camera": ((-F, 0, 0, F), (0, -1)),
    "upside down mirror": ((F, 0, 0, -F), (-1, 0)),
    "half turn": ((-F, 0, 0, -F), (-1, -1)),
    "clockwise": ((0, F, -F, 0), (0, -1)),
    "counter-clockwise": ((0, -F, F, 0), (-1, 0)),
    "transposed": ((0, F, F, 0), (0, 0)),
    "transposed half turn": ((0, -F, -F, 0), (-1, -1)),
}


def corner() -> np.ndarray:
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, 0] = 255
    return image


@pytest.mark.parametrize(("matrix", "place"), POSES.values(), ids=POSES)
def test_every_turn_and_mirror_image_is_followed(matrix: tuple[int, int, int, int], place: tuple[int, int]) -> None:
    image = posed(corner(), matrix)
    assert image.shape == ((4, 2, 3) if matrix[1] else (2, 4, 3))
    assert image[place].tolist() == [255, 255, 255]
    assert image.sum() == 3 * 255


@pytest.mark.parametrize("matrix", [None, (0, 0, 0, 0), (F, 0, 0, 0)])
def test_a_matrix_that_is_no_turn_is_ignored(matrix: tuple[int, int, int, int] | None) -> None:
    assert np.array_equal(posed(corner(), matrix), corner())


@pytest.mark.parametrize(("matrix", "place"), POSES.values(), ids=POSES)
def test_the_matrix_of_a_file_is_read_and_agrees_with_ffmpeg(
    tmp_path: Path, matrix: tuple[int, int, int, int], place: tuple[int, int]
) -> None:
    path = with_matrix(make_clip(tmp_path / "clip.mp4", seconds=0.3, audio=False), matrix)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    if matrix == (F, 0, 0, F):
        assert display_matrix(frame) in (None, matrix)
        return
    assert display_matrix(frame) == matrix
    if matrix[0] * matrix[3] - matrix[1] * matrix[2] > 0:  # FFmpeg gives the angle of a turn, but of no mirror image
        upright = np.rot90(frame.to_ndarray(format="bgr24"), round(frame.rotation / 90) % 4)
        assert np.array_equal(picture(frame, None), upright)


def test_pixels_become_square() -> None:
    assert square_pixels(np.zeros((480, 360, 3), np.uint8), Fraction(16, 9)).shape == (480, 640, 3)
    assert square_pixels(np.zeros((480, 720, 3), np.uint8), Fraction(8, 9)).shape == (480, 640, 3)


@pytest.mark.parametrize("aspect", [None, Fraction(0), Fraction(1), Fraction(1000), Fraction(1, 1000)])
def test_an_aspect_ratio_that_is_missing_or_absurd_changes_nothing(aspect: Fraction | None) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert square_pixels(image, aspect) is image


@pytest.mark.parametrize(("degrees", "place"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_fixed_turn_is_clockwise(degrees: int, place: tuple[int, int]) -> None:
    assert turned(corner(), degrees)[place].tolist() == [255, 255, 255]
