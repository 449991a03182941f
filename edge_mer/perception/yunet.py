"""YuNet (Wu et al. 2023): its twelve outputs as boxes, five landmarks and scores. Pure numpy, beside any OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

STRIDES: Final = (8, 16, 32)
# Of two boxes that share more than this (intersection over union) only the surer is kept.
OVERLAP: Final = 0.3

Rows = NDArray[np.float32]
"""[n, 15], the surest first: left, top, width, height; x and y of the right eye, the left eye, the nose, the right and
the left corner of the mouth (the person's own); score in [0, 1]. As ``cv2.FaceDetectorYN`` gives them."""


def decode(outputs: Mapping[str, NDArray[Any]], width: int, threshold: float) -> Rows:
    """The faces of score ``threshold`` and more, in pixels of an input ``width`` wide."""
    found = np.concatenate([_of_stride(outputs, stride, width, threshold) for stride in STRIDES])
    found = found[np.argsort(-found[:, 14], kind="stable")]
    return found[_kept(found[:, :4])]


def _of_stride(outputs: Mapping[str, NDArray[Any]], stride: int, width: int, threshold: float) -> Rows:
    """Anchors are the corners of a grid of ``stride`` pixels, row by row."""
    sure = outputs[f"cls_{stride}"][0, :, 0].clip(0, 1) * outputs[f"obj_{stride}"][0, :, 0].clip(0, 1)
    chosen = np.flatnonzero(sure >= threshold**2)
    anchor = np.stack(np.divmod(chosen, width // stride)[::-1], 1).astype(np.float32)
    box, points = outputs[f"bbox_{stride}"][0, chosen], outputs[f"kps_{stride}"][0, chosen]
    size = np.exp(box[:, 2:]) * np.float32(stride)
    corner = (anchor + box[:, :2]) * np.float32(stride) - size / 2
    places = (np.tile(anchor, 5) + points) * np.float32(stride)
    return np.concatenate([corner, size, places, np.sqrt(sure[chosen])[:, None]], 1).astype(np.float32)


def _kept(boxes: NDArray[np.float32]) -> list[int]:
    """Non-maximum suppression of ``boxes`` [n, 4], which come surest first."""
    kept: list[int] = []
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = boxes[:, 2] * boxes[:, 3]
    for i in range(len(boxes)):
        common = (np.minimum(high[i], high[kept]) - np.maximum(low[i], low[kept])).clip(0).prod(1)
        if (common <= OVERLAP * (area[i] + area[kept] - common)).all():
            kept.append(i)
    return kept
