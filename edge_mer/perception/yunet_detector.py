"""The face detector: YuNet over the whole picture, over turned parts of it, and from near over one face.

One graph of a fixed input serves all three, so that any backend runs it and a replay gives the same. From far YuNet
draws the landmarks of a tilted face as if it were upright, and loses it beyond 30 degrees; hence the look from near, at
the face in fifteen positions around the circle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.crop import grown, square, turned
from edge_mer.perception.detect import Box, Face, FaceDetector, Haar, Image, OpenCvYuNet, framed, largest_first
from edge_mer.perception.pose import pose_of
from edge_mer.perception.yunet import Rows, decode
from edge_mer.runtime.backend import Backend, Graph, origin

YUNET: Final = "yunet.onnx"
THRESHOLD: Final = 0.7
# In a search less is enough: what it finds is confirmed by the look from near.
SUSPECTED: Final = 0.5
# The look from near: a face half as wide as its tile, in steps that leave at most 12 degrees of tilt.
TILE: Final = 128
# The middle of a face lies at most this far from the middle of its tile, as a share of the tile.
MIDDLE: Final = 0.22
# Neighbours of the surest tile whose score is this near are as good; the one that shows the face more upright is taken.
ALIKE: Final = 0.02
# Parts of a search overlap by so many pixels.
SHARED: Final = 64


@dataclass(frozen=True, slots=True)
class Search:
    """The whole picture, turned by ``angle`` degrees and at most ``zoom`` times as large, in ``columns`` x ``rows``."""

    angle: float
    columns: int
    rows: int
    zoom: float


TILTED, OTHERWISE = Search(30.0, 1, 2, 1.0), Search(-30.0, 1, 2, 1.0)
SMALL: Final = Search(0.0, 2, 2, 2.0)
# One after the other, and again: tilted faces, then small ones, and those that show their side.
PARTS: Final = (
    *((search, 0, row) for row in (0, 1) for search in (TILTED, OTHERWISE)),
    *((SMALL, column, row) for row in (0, 1) for column in (0, 1)),
)

Affine = NDArray[np.float64]


class YuNetDetector(FaceDetector):
    """``graph``: ``picture`` float32 [1, 3, h, w] (BGR, 0 to 255) -> YuNet's twelve outputs."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self.name = graph, f"yunet-{origin(graph)[:8]}"
        _, _, self._height, self._width = graph.inputs["picture"].shape
        self._columns, self._tiles = self._width // TILE, (self._width // TILE) * (self._height // TILE)

    def rows(self, view: Image, threshold: float = THRESHOLD) -> Rows:
        """The faces of a ``view`` [h, w, 3] no larger than the input, black beside it."""
        picture = np.zeros((1, 3, self._height, self._width), np.float32)
        picture[0, :, : view.shape[0], : view.shape[1]] = view.transpose(2, 0, 1)
        return decode(self._graph.run({"picture": picture}), self._width, threshold)

    def detect(self, image: Image) -> list[Face]:
        view, scale = shrunk(image, min(self._width / image.shape[1], self._height / image.shape[0]))
        return largest_first([_placed(row, _scaling(1 / scale)) for row in self.rows(view)])

    def scan(self, image: Image, turn: int) -> list[Face]:
        search, column, row = PARTS[turn % len(PARTS)]
        size = np.array((self._width, self._height))
        whole = size * (search.columns, search.rows) - SHARED * np.array((search.columns - 1, search.rows - 1))
        sine, cosine = abs(math.sin(math.radians(search.angle))), abs(math.cos(math.radians(search.angle)))
        high = image.shape[1] * sine + image.shape[0] * cosine
        wide = image.shape[1] if search.columns > 1 else 0  # else the corners of a turned picture are left out
        scale = min(search.zoom, whole[1] / high, whole[0] / wide if wide else search.zoom)
        small, shrink = shrunk(image, scale)
        middle = (small.shape[1] - 1) / 2, (small.shape[0] - 1) / 2
        matrix = np.asarray(cv2.getRotationMatrix2D(middle, search.angle, scale / shrink), np.float64)
        matrix[:, 2] += whole / 2 - middle - (size - SHARED) * (column, row)
        view = np.asarray(cv2.warpAffine(small, matrix, (self._width, self._height)), np.uint8)
        back = _scaling(1 / shrink) @ _inverse(matrix)
        return largest_first([_placed(found, back) for found in self.rows(view, SUSPECTED)])

    def again(self, image: Image, face: Face) -> Face | None:
        return self.closer(image, face, face.pose.roll)

    def closer(self, image: Image, face: Face, roll: float) -> Face | None:
        step = 360 / self._tiles
        image, shrink = shrunk(image, TILE / face.box[2])
        left, top, width, height = face.box
        wide = grown((left * shrink, top * shrink, width * shrink, height * shrink), 2 * math.sqrt(2))
        near, side = square(image, wide), math.ceil(TILE * math.sqrt(2))
        scale = side / len(near)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        near = np.asarray(cv2.resize(near, (side, side), interpolation=method), np.uint8)
        view = np.zeros((self._height, self._width, 3), np.uint8)
        matrices = [turned(side, roll + i * step, TILE) for i in range(self._tiles)]
        for i, matrix in enumerate(matrices):
            x, y = self._corner(i)
            view[y : y + TILE, x : x + TILE] = cv2.warpAffine(near, matrix, (TILE, TILE))
        best = self._best(self.rows(view))
        if best is None:
            return None
        row, tile = best
        x, y = _corner_of(wide)
        back = np.array([(1 / scale, 0, x), (0, 1 / scale, y), (0, 0, 1)], np.float64)
        return _placed(row, _scaling(1 / shrink) @ back @ _inverse(matrices[tile]))

    def _corner(self, tile: int) -> tuple[int, int]:
        return tile % self._columns * TILE, tile // self._columns * TILE

    def _best(self, rows: Rows) -> tuple[Rows, int] | None:
        """The row, moved to the corner of its tile, that shows the face best; and its tile."""
        found: dict[int, Rows] = {}
        for row in rows:
            x, y = row[0] + row[2] / 2, row[1] + row[3] / 2
            tile = int(y // TILE) * self._columns + int(x // TILE)
            if 0 <= tile < self._tiles and tile not in found and x < self._columns * TILE:
                left, top = self._corner(tile)
                if max(abs(x - left - TILE / 2), abs(y - top - TILE / 2)) <= MIDDLE * TILE:
                    found[tile] = row - np.array([left, top, 0, 0, *(left, top) * 5, 0], np.float32)
        if not found:
            return None
        surest = max(found, key=lambda tile: found[tile][14])
        near = [(surest + i) % self._tiles for i in (0, 1, -1)]
        alike = [t for t in near if t in found and found[t][14] >= found[surest][14] - ALIKE]
        tile = min(alike, key=lambda t: abs(pose_of(_points(found[t])).roll))
        return found[tile], tile


def detector(backend: Backend, models: Path, yunet: Path | None = None) -> FaceDetector:
    """YuNet of ``models``; the Haar cascade of OpenCV 4 only where that file is absent. ``yunet``: a file of the user,
    which OpenCV reads (deprecated). Raises ModelError."""
    if yunet is not None:
        return OpenCvYuNet(yunet)
    return YuNetDetector(backend.load(models / YUNET)) if (models / YUNET).is_file() else Haar()


def detector_notes(models: Path, yunet: Path | None) -> tuple[str, ...]:
    """What the user should know of the detector that ``detector`` opens."""
    if yunet is not None:
        return ("perception.yunet is deprecated; remove it to use the shipped yunet.onnx",)
    if (models / YUNET).is_file():
        return ()
    return (f"{YUNET} is absent: the fallback, a Haar cascade, finds large upright faces only",)


def shrunk(image: Image, scale: float) -> tuple[Image, float]:
    """The picture ``scale`` times as large, at most as large as it is; and the scale that was applied."""
    if scale >= 1.0:
        return image, 1.0
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _corner_of(box: Box) -> tuple[int, int]:
    """Left and top of what ``square`` cuts out."""
    left, top, width, height = box
    side = max(1, round(max(width, height)))
    return round(left + (width - side) / 2), round(top + (height - side) / 2)


def _points(row: Rows) -> NDArray[np.float64]:
    return row[4:14].reshape(5, 2).astype(np.float64)


def _placed(row: Rows, back: Affine) -> Face:
    """A row of a view as a face of the picture; ``back`` [3, 3] leads from the one to the other."""
    left, top, side, _ = framed(row[:4])
    x, y, _ = back @ (left + side / 2, top + side / 2, 1)
    side *= math.hypot(back[0, 0], back[1, 0])
    points = np.c_[_points(row), np.ones(5)] @ back[:2].T
    return Face((float(x - side / 2), float(y - side / 2), side, side), points)


def _scaling(factor: float) -> Affine:
    return np.diag((factor, factor, 1.0))


def _inverse(affine: Affine) -> Affine:
    """[3, 3] of the affine [2, 3]."""
    return np.linalg.inv(np.vstack([affine, (0, 0, 1)]))
