"""From a decoded frame to an upright picture with square pixels: the display matrix, the aspect ratio, a turn."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# Wider or narrower pixels are a damaged header.
MOST_ASPECT: Final = 4


def picture(frame: av.VideoFrame, aspect: Fraction | None) -> Image:
    """uint8 [height, width, 3] BGR, upright by the file's display matrix. ``aspect``: width of a pixel by its height,
    None or 0 where the file does not give it."""
    image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    return posed(square_pixels(image, aspect), display_matrix(frame))


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """a, b, c, d of FFmpeg's matrix (16.16 fixed point): a pixel goes from (x, y) to (ax + cy, bx + dy)."""
    side_data: Any = frame.side_data
    try:
        data = side_data[Type.DISPLAYMATRIX]
    except KeyError:
        return None
    values = np.frombuffer(bytes(data), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def posed(image: Image, matrix: tuple[int, int, int, int] | None) -> Image:
    """``image`` by the nearest whole turn or mirror image of ``matrix``; one that is no turn at all is ignored."""
    if matrix is None:
        return image
    a, b, c, d = matrix
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    rows, columns = (b, c) if transposed else (d, a)
    if not (rows and columns):
        return image
    shown = image.swapaxes(0, 1) if transposed else image
    return np.ascontiguousarray(shown[:: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1])


def square_pixels(image: Image, aspect: Fraction | None) -> Image:
    """As wide as it is shown."""
    if not aspect or aspect == 1 or not Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT:
        return image
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(image, (max(1, round(width * aspect)), height)), np.uint8)


def turned(image: Image, degrees: int) -> Image:
    """``degrees``: a multiple of 90, clockwise."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90)) if degrees else image


def scaled(image: Image, width: int) -> Image:
    """At most ``width`` wide, with its aspect ratio."""
    height, wide = image.shape[:2]
    if wide <= width:
        return image
    small = cv2.resize(image, (width, max(1, round(height * width / wide))), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def jpeg(image: Image, quality: int) -> NDArray[Any]:
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].reshape(-1)
