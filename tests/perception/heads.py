"""Landmarks of a head that is turned by so many degrees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.pose import AVERAGE


def view(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """[5, 2]: the average face, its eyes 1 apart, as a distant camera sees it; about its own middle."""
    y, p, r = np.radians((yaw, pitch, roll))
    turn = np.array([(np.cos(y), 0, np.sin(y)), (0, 1, 0), (-np.sin(y), 0, np.cos(y))])
    nod = np.array([(1, 0, 0), (0, np.cos(p), np.sin(p)), (0, -np.sin(p), np.cos(p))])
    tilt = np.array([(np.cos(r), -np.sin(r), 0), (np.sin(r), np.cos(r), 0), (0, 0, 1)])
    points: NDArray[np.float64] = ((AVERAGE - AVERAGE.mean(0)) @ (tilt @ nod @ turn).T)[:, :2]
    return points
