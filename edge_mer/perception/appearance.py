"""How a face looks, only to tell the faces of one picture apart: 16 x 16 greys, fine structure without light.

No identity: it fits one day, one distance and one pose, and nothing keeps it longer than a track.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.detect import Face, Image

SIDE: Final = 16
# Cut out at so many times the size first, so that fine detail does not flicker.
FINE: Final = 4
# Hair belongs to it: it changes less than an expression does.
AROUND: Final = 1.3
# What is coarser than this is light: its direction and colour change a tenth as much as another face does.
COARSE: Final = SIDE / 5


Appearance = NDArray[np.float32]
"""[256], of length 1."""


def appearance(image: Image, face: Face) -> Appearance:
    """How ``face`` looks in ``image``."""
    left, top, width, height = face.box
    middle, scale = (left + width / 2, top + height / 2), FINE * SIDE / (AROUND * max(width, 1.0))
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, face.pose.roll, scale), np.float64)
    matrix[:, 2] += FINE * SIDE / 2 - np.array(middle)
    crop = cv2.warpAffine(image, matrix, (FINE * SIDE, FINE * SIDE), borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    small = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    fine = small - cv2.GaussianBlur(small, (0, 0), COARSE)
    fine = fine - fine.mean()
    return np.asarray((fine / max(float(np.sqrt((fine**2).sum())), 1e-6)).ravel(), np.float32)


def unlike(one: Appearance, other: Appearance) -> float:
    """From 0 (alike) to 2: one minus the correlation."""
    return 1.0 - float((one * other).sum())
