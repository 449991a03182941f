"""Face detectors: boxes of the faces in one picture, largest first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError

# The working size: a face of 1/6 of the picture's height still has 40 pixels.
WIDTH, HEIGHT = 320, 240
_HAAR: Final = "haarcascade_frontalface_default.xml"

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels: the square from brow to chin that Viola-Jones gives and FER2013 was cut by."""


class FaceDetector(Protocol):
    """``detect`` takes uint8 [height, width, 3] (BGR) and returns boxes, largest first."""

    def detect(self, image: Image) -> list[Box]: ...


class Haar:
    """Viola-Jones cascade from the OpenCV 4 wheel. Raises ModelError under OpenCV 5, which has none."""

    def __init__(self, smallest: int = 40, neighbours: int = 4) -> None:
        factory: Any = getattr(cv2, "CascadeClassifier", None)
        folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
        if factory is None or folder is None:
            raise ModelError("this OpenCV has no Haar cascades: install opencv<5, or set perception.yunet to a model")
        self._cascade = factory(folder + _HAAR)
        self._smallest, self._neighbours = smallest, neighbours

    def detect(self, image: Image) -> list[Box]:
        small, scale = _shrink(image)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        found = self._cascade.detectMultiScale(
            grey, scaleFactor=1.25, minNeighbors=self._neighbours, minSize=(self._smallest, self._smallest)
        )
        return _largest_first([tuple(float(v) / scale for v in box) for box in found])


class YuNet:
    """YuNet (Wu et al. 2023) through ``cv2.FaceDetectorYN``. Raises ModelError when ``path`` is not usable."""

    def __init__(self, path: Path, threshold: float = 0.7) -> None:
        try:
            self._net: Any = cv2.FaceDetectorYN.create(str(path), "", (WIDTH, HEIGHT), threshold)
        except cv2.error as error:
            raise ModelError(f"{path}: not a usable YuNet model for this OpenCV") from error

    def detect(self, image: Image) -> list[Box]:
        small, scale = _shrink(image)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        found = self._net.detect(small)[1]
        return [] if found is None else _largest_first([_framed(f[:4] / scale) for f in found])


def _shrink(image: Image) -> tuple[Image, float]:
    """The picture inside 320 x 240 with its proportions kept, and the scale that was applied (at most 1)."""
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height, 1.0)
    if scale == 1.0:
        return image, scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _framed(box: NDArray[np.float32]) -> Box:
    """A YuNet box (tight, hairline to chin) as the square that a cascade would give."""
    left, top, width, height = (float(v) for v in box)
    side = (width + height) / 2
    return left + (width - side) / 2, top + (height - side) * 0.6, side, side


def _largest_first(boxes: list[Any]) -> list[Box]:
    return sorted(boxes, key=lambda box: (-box[2] * box[3], box))


def detector(yunet: Path | None) -> FaceDetector:
    """YuNet where its model is named, else the cascade in the OpenCV wheel."""
    return YuNet(yunet) if yunet else Haar()
