"""Pictures of people: a face without any motion, on a wall or in a paused film. A moving picture is not told.

What lies in one place of the picture is compared with itself: people who sit as still as they can move by more than the
noise of a camera within a second, a picture on a wall never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.crop import square
from edge_mer.perception.detect import Box, Image

SIDE: Final = 24
# In contrasts of the face: photographs reach 0.02, in strong noise 0.05; people who sit still 0.05 to 0.28 in 2 s.
MOVED: Final = 0.03
STILL_US: Final = 5_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Stillness:
    """``crop`` float32 [24, 24]: what was in ``box`` at ``since_us``; nothing has moved there from then on."""

    box: Box
    crop: NDArray[np.float32]
    since_us: int

    def is_picture(self, now_us: int) -> bool:
        return now_us - self.since_us >= STILL_US


def watched(before: Stillness | None, image: Image, box: Box, now_us: int) -> Stillness:
    """``before``, or a new beginning where something has moved. ``box``: where the face is now."""
    if before is not None:
        now = _cut(image, before.box)
        if np.abs(now - before.crop).mean() <= MOVED * max(float(before.crop.std()), 1.0):
            return before
    return Stillness(box, _cut(image, box), now_us)


def _cut(image: Image, box: Box) -> NDArray[np.float32]:
    grey = cv2.cvtColor(square(image, box), cv2.COLOR_BGR2GRAY)
    method = cv2.INTER_AREA if len(grey) > SIDE else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=method), np.float32)
    return np.asarray(small - small.mean(), np.float32)
