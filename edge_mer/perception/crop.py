"""What is cut out of a picture: squares around a face, upright, and the small grey ones that the encoder reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.detect import Box, Image

CROP: Final = 48
GREY: Final = 127
# Degrees of tilt that are left as they are: landmarks are no surer, and the encoder was trained on as much.
UPRIGHT: Final = 8.0


def grown(box: Box, factor: float) -> Box:
    """The box, ``factor`` times as wide and high about the same middle."""
    left, top, width, height = box
    return (
        left - width * (factor - 1) / 2,
        top - height * (factor - 1) / 2,
        width * factor,
        height * factor,
    )


def square(image: Image, box: Box, roll: float = 0.0) -> Image:
    """The square part of ``image`` around ``box``, its border repeated outside; turned back by ``roll`` degrees where
    that is more than UPRIGHT."""
    if abs(roll) > UPRIGHT:
        turn = math.radians(roll)
        wide = square(image, grown(box, abs(math.cos(turn)) + abs(math.sin(turn))))
        side = max(1, round(max(box[2], box[3])))
        return np.asarray(cv2.warpAffine(wide, turned(len(wide), roll, side), (side, side)), np.uint8)
    left, top, width, height = box
    side = max(1, round(max(width, height)))
    x, y = round(left + (width - side) / 2), round(top + (height - side) / 2)
    rows = np.clip(np.arange(y, y + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x, x + side), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def painted(image: Image, own: Box, others: Sequence[Box]) -> Image:
    """``image`` with ``others`` painted over, but for what lies within ``own``."""
    out: Image = image.copy()
    for box in others:
        rows, columns = _part(grown(box, 1.2), image)
        out[rows, columns] = GREY
    rows, columns = _part(grown(own, 1.2), image)
    out[rows, columns] = image[rows, columns]
    return out


def _part(box: Box, image: Image) -> tuple[slice, slice]:
    """Rows and columns of ``image`` in ``box``."""
    left, top, width, height = box
    rows = slice(max(0, round(top)), max(0, min(image.shape[0], round(top + height))))
    return rows, slice(max(0, round(left)), max(0, min(image.shape[1], round(left + width))))


def turned(side: int, roll: float, out: int) -> NDArray[np.float64]:
    """The affine [2, 3] that turns a square of ``side`` pixels by ``roll`` degrees, counter-clockwise, and keeps the
    middle ``out`` of it."""
    matrix = np.asarray(cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), roll, 1.0), np.float64)
    matrix[:, 2] += (out - side) / 2
    return matrix


def crop_face(image: Image, box: Box, roll: float = 0.0) -> NDArray[np.float32]:
    """Square grey crop float32 [48, 48] in [0, 1] around ``box``, upright."""
    grey = cv2.cvtColor(square(image, box, roll), cv2.COLOR_BGR2GRAY)
    method = cv2.INTER_AREA if len(grey) > CROP else cv2.INTER_LINEAR
    face = np.asarray(cv2.resize(grey, (CROP, CROP), interpolation=method), np.float32)
    return np.divide(face, 255, dtype=np.float32)


def sharpness(face: NDArray[np.float32]) -> float:
    """Variance of the Laplacian of a crop over its own variance: how much fine detail, whatever the light."""
    return float(cv2.Laplacian(face, cv2.CV_32F).var() / (face.var() + np.float32(1e-6)))
