"""The drawn face of the demo session: a shaded oval with hair, eyes, brows, nose and mouth."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
_FINE = 3  # drawn at three times the size and shrunk: smooth edges
_CENTRE = (160.0, 124.0)
_RADII = (62.0, 84.0)
_SKIN, _HAIR, _LINE, _LIP = (150, 182, 222), (38, 46, 60), (36, 40, 52), (82, 78, 160)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Expression:
    """``brow_tilt`` > 0 draws the inner ends down; ``smile`` in -1..1; ``eyes`` and ``mouth`` are openings."""

    brow_lift: float = 0.0
    brow_tilt: float = 0.0
    eyes: float = 1.0
    smile: float = 0.0
    mouth: float = 0.05
    mouth_width: float = 1.0

    def towards(self, other: Expression, share: float) -> Expression:
        """A straight mixture: share 0 is this one, 1 the other."""
        return Expression(*(getattr(self, f.name) * (1 - share) + getattr(other, f.name) * share for f in fields(self)))


EXPRESSIONS = {
    "neutral": Expression(),
    "happy": Expression(brow_lift=0.3, eyes=0.7, smile=1.0, mouth=0.3, mouth_width=1.35),
    "sad": Expression(brow_lift=0.2, brow_tilt=-1.0, eyes=0.65, smile=-0.9, mouth=0.0, mouth_width=0.9),
    "angry": Expression(brow_lift=-0.6, brow_tilt=1.0, eyes=0.8, smile=-0.5, mouth=0.2),
    "surprise": Expression(brow_lift=1.0, eyes=1.5, smile=0.0, mouth=0.9, mouth_width=0.7),
}


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head is: shift in pixels and roll in degrees."""

    dx: float = 0.0
    dy: float = 0.0
    roll: float = 0.0


def draw(expression: Expression, pose: Pose, noise: np.random.Generator) -> Image:
    """One frame, uint8 [240, 320, 3] BGR, with slight sensor noise."""
    fine = _backdrop().copy()
    _eyes(fine, expression)
    _brows(fine, expression)
    _nose(fine)
    _mouth(fine, expression)
    small = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    motion = cv2.getRotationMatrix2D(_CENTRE, pose.roll, 1.0)
    motion[:, 2] += np.array((pose.dx, pose.dy))
    moved = cv2.warpAffine(small, motion, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    grain = noise.normal(0, 1.5, (HEIGHT, WIDTH, 1))
    return np.clip(moved + grain, 0, 255).astype(np.uint8)


@cache
def _backdrop() -> Image:
    """Room, shoulders, hair and the shaded oval of the head."""
    y, x = np.mgrid[0 : HEIGHT * _FINE, 0 : WIDTH * _FINE].astype(np.float32) / _FINE
    image = np.empty((HEIGHT * _FINE, WIDTH * _FINE, 3), np.float32)
    image[:] = (120 + 40 * (y / HEIGHT))[..., None] * np.array((1.0, 0.97, 0.9), np.float32)
    _fill(image, _oval(x, y, 160, 262, 118, 62), (96, 72, 48))
    _fill(image, _oval(x, y, 160, 210, 26, 40), tuple(0.8 * c for c in _SKIN))
    _fill(image, _oval(x, y, 160, 108, 72, 88), _HAIR)
    head = _oval(x, y, *_CENTRE, *_RADII)
    light = 1.06 - 0.28 * head - 0.06 * (x - _CENTRE[0]) / _RADII[0]
    skin = np.array(_SKIN, np.float32) * light[..., None]
    inside = head <= 1
    image[inside] = skin[inside]
    fringe = (_oval(x, y, 160, 54, 52, 26) <= 1) & inside
    image[fringe] = _HAIR
    for side in (-1, 1):  # eye sockets lie in shadow: what a face detector looks for
        socket = np.clip(1 - _oval(x, y, 160 + side * 25, 108, 24, 17), 0, 1)
        image *= (1 - 0.35 * socket * inside)[..., None]
        cheek = np.clip(1 - _oval(x, y, 160 + side * 32, 145, 22, 20), 0, 1)
        image *= (1 + 0.10 * cheek * inside)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _oval(
    x: NDArray[np.float32], y: NDArray[np.float32], cx: float, cy: float, rx: float, ry: float
) -> NDArray[np.float32]:
    """Squared distance from the centre: 1 on the edge."""
    distance: NDArray[np.float32] = ((x - cx) / np.float32(rx)) ** 2 + ((y - cy) / np.float32(ry)) ** 2
    return distance


def _fill(image: NDArray[np.float32], oval: NDArray[np.float32], colour: tuple[float, ...]) -> None:
    image[oval <= 1] = colour


def _at(x: float, y: float) -> tuple[int, int]:
    return round(x * _FINE), round(y * _FINE)


def _ellipse(image: Image, x: float, y: float, rx: float, ry: float, colour: tuple[int, ...]) -> None:
    axes = (max(1, round(rx * _FINE)), max(1, round(ry * _FINE)))
    cv2.ellipse(image, _at(x, y), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)


def _curve(image: Image, points: NDArray[np.float64], colour: tuple[int, ...], thickness: float) -> None:
    cv2.polylines(
        image,
        [np.round(points * _FINE).astype(np.int32)],
        False,
        colour,
        round(thickness * _FINE),
        cv2.LINE_AA,
    )


def _eyes(image: Image, e: Expression) -> None:
    for side in (-1, 1):
        x, y, opening = 160 + side * 25.0, 110.0, max(0.6, 6.5 * e.eyes)
        _ellipse(image, x, y, 13, opening, (236, 238, 240))
        _ellipse(image, x, y, 6.2, min(6.2, opening), (70, 54, 40))
        _ellipse(image, x, y, 3.0, min(3.0, opening), (14, 12, 12))
        lid = np.array([(x + dx, y - opening * np.sqrt(1 - (dx / 13.5) ** 2)) for dx in np.linspace(-13, 13, 15)])
        _curve(image, lid, _LINE, 2.2)


def _brows(image: Image, e: Expression) -> None:
    for side in (-1, 1):
        t = np.linspace(0, 1, 12)  # from the inner to the outer end
        x = 160 + side * (11 + 30 * t)
        y = 93 - 8 * e.brow_lift + 9 * e.brow_tilt * (0.5 - t) - 4 * np.sin(np.pi * t)
        _curve(image, np.stack([x, y], 1), _LINE, 4.0)


def _nose(image: Image) -> None:
    shade = tuple(round(0.72 * c) for c in _SKIN)
    _curve(image, np.array([(156.0, 112.0), (153.0, 136.0), (150.0, 144.0), (156.0, 148.0)]), shade, 1.6)
    for side in (-1, 1):
        _ellipse(image, 160 + side * 6, 147.5, 3, 1.8, tuple(round(0.5 * c) for c in _SKIN))


def _mouth(image: Image, e: Expression) -> None:
    t = np.linspace(-1, 1, 25)
    x = 160 + 24 * e.mouth_width * t
    middle = 174 + 9 * e.smile * (0.5 - t**2)
    gap = 13 * e.mouth * (1 - t**2)
    upper, lower = np.stack([x, middle - 0.6 * gap], 1), np.stack([x, middle + gap], 1)
    outline = np.concatenate([upper, lower[::-1]])
    cv2.fillPoly(image, [np.round(outline * _FINE).astype(np.int32)], (28, 22, 58), cv2.LINE_AA)
    _curve(image, upper, _LIP, 3.4)
    _curve(image, lower, _LIP, 3.4)
