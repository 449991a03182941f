"""How a face looks, only to tell the faces of one picture apart: 16 x 16 greys, fine structure without light.

No identity: it fits one day, one distance and one pose, and nothing keeps it longer than a track.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.crop import grown, square
from edge_mer.perception.detect import Face, Image

SIDE: Final = 16
# Hair belongs to it: it changes less than an expression does.
AROUND: Final = 1.3
# What is coarser than this is light: its direction and colour change a tenth as much as another face does.
COARSE: Final = SIDE / 5


Appearance = NDArray[np.float32]
"""[256], of length 1."""


def appearance(image: Image, face: Face) -> Appearance:
    """How ``face`` looks in ``image``."""
    crop = cv2.cvtColor(square(image, grown(face.box, AROUND), face.pose.roll), cv2.COLOR_BGR2GRAY)
    method = cv2.INTER_AREA if len(crop) > SIDE else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=method), np.float32)
    fine = small - cv2.GaussianBlur(small, (0, 0), COARSE)
    fine = fine - fine.mean()
    return np.asarray((fine / max(float(np.sqrt((fine**2).sum())), 1e-6)).ravel(), np.float32)


def unlike(one: Appearance, other: Appearance) -> float:
    """From 0 (alike) to 2: one minus the correlation."""
    return 1.0 - float((one * other).sum())
