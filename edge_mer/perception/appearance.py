"""How a face looks, only to tell the faces of one picture apart: 12 x 12 colours without their mean and contrast.

No identity: it fits one light, one distance and one day, and no other module keeps it longer than a track.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.crop import grown, square
from edge_mer.perception.detect import Face, Image

SIDE: Final = 12
# Hair and collar belong to it: they change less than an expression does.
AROUND: Final = 1.3


def appearance(image: Image, face: Face) -> NDArray[np.float32]:
    """Float32 [12 * 12 * 3] of length 1 for ``face``."""
    crop = square(image, grown(face.box, AROUND), face.pose.roll)
    method = cv2.INTER_AREA if len(crop) > SIDE else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=method), np.float32)
    small = small - small.mean()
    return np.asarray((small / max(float(np.sqrt((small**2).sum())), 1e-6)).ravel(), np.float32)


def unlike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """From 0 (alike) to 2: one minus the correlation."""
    return 1.0 - float((one * other).sum())
