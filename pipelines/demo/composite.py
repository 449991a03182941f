"""Faces of the scenes: for each expression the mean of the training pictures that are nearest to their own mean.

Such a mean shows no person. The expression network knows these faces because they are made of what it learned from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, Emotion

WIDTH, HEIGHT = 320, 240
SIDE = 160
NEAREST = 24
STARTING = 40
# Correlation of two pictures that show the same.
ALIKE = 0.9
SHARPEN = 1.25
BLUR = 4.0
# Grey level and contrast of the faces in the picture, of 255.
LEVEL, CONTRAST = 118.0, 48.0
GRAIN = 5.0
# How far an expression comes and goes about its strength: one that stands still is taken for a photograph.
SWING = 0.5

Grey = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Actor:
    """How a face moves: ``phase`` shifts its motion (s), ``strength`` is the share of the expression at its height."""

    phase: float
    strength: float = 0.9


def composites(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[Emotion, Grey]:
    """One face [160, 160] of mean 0 and deviation 1 for each label, from pictures uint8 [n, 48, 48]."""
    return {e: _composite(images[labels == i].astype(np.float32)) for i, e in enumerate(EMOTIONS)}


def _composite(images: Grey) -> Grey:
    images = images[images.std((1, 2)) > 0]
    faces = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    mean = faces.mean(0)
    for count in (STARTING, STARTING, STARTING, NEAREST):
        mean = _nearest(faces, mean, count).mean(0)
    large = cv2.resize((mean - mean.mean()) / mean.std(), (SIDE, SIDE), interpolation=cv2.INTER_LANCZOS4)
    sharp = large + SHARPEN * (large - cv2.GaussianBlur(large, (0, 0), BLUR))
    return np.asarray((sharp - sharp.mean()) / sharp.std(), np.float32)


def _nearest(faces: Grey, mean: Grey, count: int) -> Grey:
    """The ``count`` faces nearest to ``mean``, no two of them alike: the set holds some pictures many times."""
    chosen: list[int] = []
    for index in np.argsort(((faces - mean) ** 2).mean((1, 2)), kind="stable"):
        if all((faces[index] * faces[other]).mean() < ALIKE for other in chosen):
            chosen.append(int(index))
        if len(chosen) == count:
            break
    return faces[chosen]


def frames(neutral: Grey, expressed: Grey, actor: Actor, count: int, fps: int, seed: int) -> Iterator[Picture]:
    """``count`` pictures uint8 [240, 320, 3] BGR of a face that moves between ``neutral`` and ``expressed``."""
    noise = np.random.default_rng(seed)
    room = _room(noise)
    mask = _oval()
    for index in range(count):
        t = index / fps + actor.phase
        share = np.clip(actor.strength + SWING * (0.7 * np.sin(3.1 * t) + 0.3 * np.sin(7.7 * t)), 0.2, 1.15)
        face = np.clip(LEVEL + CONTRAST * ((1 - share) * neutral + share * expressed), 0, 255).astype(np.float32)
        motion = _motion(t)
        moved = cv2.warpAffine(face, motion, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(mask, motion, (WIDTH, HEIGHT))
        picture = room * (1 - alpha) + moved * alpha
        yield _grained(picture * (1 + 0.03 * np.sin(2.5 * t)), noise)


def empty_room(count: int, seed: int) -> Iterator[Picture]:
    """``count`` pictures without a face."""
    noise = np.random.default_rng(seed)
    room = _room(noise)
    for _ in range(count):
        yield _grained(room, noise)


def _motion(t: float) -> NDArray[np.float64]:
    """A slow turn, sway and nod, in pixels of the picture."""
    centre = (SIDE / 2, SIDE / 2)
    motion = cv2.getRotationMatrix2D(centre, 3 * np.sin(1.4 * t), 1 + 0.04 * np.sin(1.9 * t))
    motion[:, 2] += ((WIDTH - SIDE) / 2 + 6 * np.sin(1.7 * t), (HEIGHT - SIDE) / 2 + 4 * np.sin(1.2 * t))
    return motion.astype(np.float64)


def _oval() -> Grey:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    distance = np.hypot((x - SIDE / 2) / 79, (y - SIDE / 2) / 81)
    return np.asarray(np.clip((1.05 - distance) * 8, 0, 1), np.float32)


def _room(noise: np.random.Generator) -> Grey:
    soft = cv2.GaussianBlur(noise.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 17)
    return np.asarray(70 + 12 * soft / soft.std(), np.float32)


def _grained(picture: Grey, noise: np.random.Generator) -> Picture:
    grey = np.clip(picture + noise.normal(0, GRAIN, picture.shape), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
