"""How much a mouth moves from picture to picture, apart from the head: 0.2 ms per face and picture.

The face is brought to one size by its landmarks, and its upper half is laid over that of the picture before; what
still differs around the mouth is the mouth's own. Of the measures that were tried (darkness between the lips, contrast
from nose to chin, place of the chin, differences) this one follows the voice best; `calibration/RESULTS.md`, People.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.detect import Image
from edge_mer.perception.pose import Points

WIDE, HIGH = 48, 64
# The eyes in the patch, and the mouth so many pixels below them.
EYES: Final = np.array((24.0, 16.0))
BELOW: Final = 26.0
UPPER: Final = (slice(8, 32), slice(8, 40))
MOUTH: Final = (slice(33, 57), slice(12, 36))
STEPS: Final = 4
STEP: Final = 1.5

Patch = NDArray[np.float32]
"""[64, 48], in units of the contrast of the upper face."""
Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MouthView:
    """The face of the picture before. ``place`` leads from the picture to the patch; ``shift``: by how many pixels of
    the patch the head has moved since."""

    place: Affine
    shift: tuple[float, float]
    patch: Patch


def first_view(image: Image, points: Points) -> MouthView:
    place = _place(points)
    return MouthView(place, (0.0, 0.0), _normal(_cut(image, place)))


def next_view(image: Image, view: MouthView, points: Points | None = None) -> tuple[MouthView, float]:
    """The view of this picture, and how much the mouth moved since: the mean difference, in contrasts of the upper
    face. ``points``: landmarks of this picture, where they are known."""
    place, start = (view.place, view.shift) if points is None else (_place(points), (0.0, 0.0))
    cut = _cut(image, place)
    shift = _shift(view.patch, _normal(cut), start)
    patch = _normal(_moved(cut, shift))
    moved = float(np.abs(patch[MOUTH] - view.patch[MOUTH]).mean())
    return MouthView(place, shift, patch), moved


def _place(points: Points) -> Affine:
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    length = max(math.hypot(down[0], down[1]), 1.0)
    cosine, sine = down[1] * BELOW / length**2, down[0] * BELOW / length**2
    turn = np.array([(cosine, -sine), (sine, cosine)])
    return np.asarray(np.c_[turn, EYES - turn @ eyes], np.float64)


def _cut(image: Image, place: Affine) -> Patch:
    """The grey patch; from twice its size, so that fine detail does not flicker."""
    double = cv2.warpAffine(image, place * 2, (2 * WIDE, 2 * HIGH), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(double, (WIDE, HIGH), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)


def _normal(patch: Patch) -> Patch:
    upper = patch[UPPER]
    return np.asarray((patch - upper.mean()) / (upper.std() + np.float32(1e-3)), np.float32)


def _moved(patch: Patch, shift: tuple[float, float]) -> Patch:
    matrix = np.array([(1, 0, shift[0]), (0, 1, shift[1])], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = patch.shape[1], patch.shape[0]
    return np.asarray(cv2.warpAffine(patch, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _shift(before: Patch, now: Patch, start: tuple[float, float]) -> tuple[float, float]:
    """By how much the upper face moved: least squares of the brightness, by Gauss-Newton (Lucas and Kanade 1981)."""
    wanted = before[UPPER]
    slopes = [cv2.Sobel(wanted, cv2.CV_32F, dx, dy, scale=1 / 8).ravel() for dx, dy in ((1, 0), (0, 1))]
    gradient = np.stack(slopes, 1).astype(np.float64)
    inverse = np.linalg.inv(gradient.T @ gradient + 1e-3 * np.eye(2))
    x, y = start
    for _ in range(STEPS):
        rest = (wanted - _moved(now, (x, y))[UPPER]).ravel().astype(np.float64)
        step = np.clip(inverse @ (gradient.T @ (rest - rest.mean())), -STEP, STEP)
        x, y = x + float(step[0]), y + float(step[1])
    return (x, y) if max(abs(x), abs(y)) < WIDE / 2 else start
