"""Face detectors: the faces in one picture, largest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.perception.pose import Points, Pose, pose_of

# The cascade's working size: a face of 1/6 of the picture's height still has 40 pixels.
WIDTH, HEIGHT = 320, 240
_HAAR: Final = "haarcascade_frontalface_default.xml"
# Debian's and JetPack's OpenCV has no ``cv2.data``; its cascades lie here.
_FOLDERS: Final = ("/usr/share/opencv4/haarcascades/", "/usr/local/share/opencv4/haarcascades/")

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels: the square from brow to chin that Viola-Jones gives and FER2013 was cut by."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """``points``: five landmarks in pixels of the picture, as ``pose_of`` takes them; None where a detector has none.

    At a glance the landmarks of a tilted face are not exact; ``closer`` gives those that are.
    """

    box: Box
    points: Points | None = None

    @property
    def pose(self) -> Pose:
        return Pose() if self.points is None else pose_of(self.points)


class FaceDetector(Protocol):
    """``image`` is uint8 [height, width, 3] (BGR) throughout. ``name`` stands beside the encoder's in every feature."""

    name: str = ""

    def detect(self, image: Image) -> list[Face]:
        """All faces at a glance, largest first."""
        ...

    def scan(self, image: Image, turn: int) -> list[Face]:
        """A slower search, one part of the picture each ``turn``, for a picture in which ``detect`` finds none."""
        return []

    def closer(self, image: Image, face: Face, roll: float) -> Face | None:
        """``face``, tilted by about ``roll`` degrees, looked at again from near: exact, or None where there is none."""
        return face

    def again(self, image: Image, face: Face) -> Face | None:
        """The face that was at ``face`` before and that ``detect`` does not find now; None where it is gone."""
        return None


class Haar(FaceDetector):
    """The fallback where yunet.onnx is absent: Viola-Jones cascade of OpenCV 4, for large upright faces. Raises
    ModelError under OpenCV 5, which has none."""

    name = "haar"

    def __init__(self, smallest: int = 40, neighbours: int = 4) -> None:
        factory: Any = getattr(cv2, "CascadeClassifier", None)
        wheel = getattr(getattr(cv2, "data", None), "haarcascades", None)
        folders = [wheel] if wheel else [f for f in _FOLDERS if (Path(f) / _HAAR).is_file()]
        if factory is None or not folders:
            raise ModelError("this OpenCV has no Haar cascades, and yunet.onnx is absent; restore the latter")
        self._cascade = factory(folders[0] + _HAAR)
        self._smallest, self._neighbours = smallest, neighbours

    def detect(self, image: Image) -> list[Face]:
        small, scale = _shrink(image)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        found = self._cascade.detectMultiScale(
            grey, scaleFactor=1.25, minNeighbors=self._neighbours, minSize=(self._smallest, self._smallest)
        )
        return largest_first([Face(_scaled(box, scale)) for box in found])


class OpenCvYuNet(FaceDetector):
    """A file named in ``perception.yunet``, through ``cv2.FaceDetectorYN``. Raises ModelError when it is not usable."""

    def __init__(self, path: Path, threshold: float = 0.7) -> None:
        try:
            self._net: Any = cv2.FaceDetectorYN.create(str(path), "", (WIDTH, HEIGHT), threshold)
        except (AttributeError, cv2.error) as error:
            raise ModelError(f"{path}: not a usable YuNet model for this OpenCV; unset perception.yunet") from error

    def detect(self, image: Image) -> list[Face]:
        small, scale = _shrink(image)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        found = self._net.detect(small)[1]
        return [] if found is None else largest_first([Face(framed(f[:4] / scale)) for f in found])


def framed(box: NDArray[np.float32]) -> Box:
    """A YuNet box (tight, hairline to chin) as the square that a cascade gives: medians of 23 faces."""
    left, top, width, height = (float(v) for v in box)
    side = 1.08 * (width + height) / 2
    return left + (width - side) / 2, top + 0.6 * height - 0.63 * side, side, side


def largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], face.box))


def _shrink(image: Image) -> tuple[Image, float]:
    """The picture inside 320 x 240 with its proportions kept, and the scale that was applied (at most 1)."""
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height, 1.0)
    if scale == 1.0:
        return image, scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _scaled(box: NDArray[np.int32], scale: float) -> Box:
    left, top, width, height = (float(v) / scale for v in box)
    return left, top, width, height
