"""Where a head looks, from five landmarks: a scaled orthographic view of an average face (DeMenthon and Davis 1995)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""[5, 2] in pixels: right eye, left eye, nose, right and left corner of the mouth (the person's own)."""

# Of an average face, in units of the distance between the eyes: to the person's left, down, towards the camera.
# Means of YuNet's landmarks on 341 frontal press photographs; the depths fit 572 turned and frontal ones best.
AVERAGE: Final = np.array(
    [(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.573, 0.42), (-0.43, 1.024, -0.05), (0.43, 1.024, -0.05)]
)
_CENTRED: Final = AVERAGE - AVERAGE.mean(0)
_INVERSE: Final = np.linalg.pinv(_CENTRED)


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees; all 0 for an upright face that looks into the camera.

    ``yaw``: turned to the person's left (to the right of the picture) is positive; ``pitch``: looking down is
    positive; ``roll``: clockwise in the picture is positive.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def pose_of(points: Points) -> Pose:
    """The rotation whose view of the average face comes nearest to ``points``; zeros where all of them coincide."""
    view = (_INVERSE @ (points - points.mean(0))).T
    left, size, right = np.linalg.svd(view, full_matrices=False)
    if size[0] <= 0:
        return Pose()
    across, down = left @ right
    ahead = np.cross(across, down)
    yaw = np.arctan2(-ahead[0], ahead[2])
    pitch = np.arctan2(-ahead[1], np.hypot(ahead[0], ahead[2]))
    return Pose(*(float(v) for v in np.degrees((yaw, pitch, np.arctan2(-across[1], down[1])))))
