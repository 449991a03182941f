"""Calibrated confidence on the device: applies the fits of ``python -m calibration.confidence`` to logits.

Each fit belongs to one combination; logits of another combination are refused.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from edge_mer.contract.domain import EMOTIONS, Combination, Emotion
from edge_mer.contract.errors import InputError, ModelError

Floats = NDArray[np.float64]


class Scaling(Struct, frozen=True):
    """Logits become ``scale * logits + bias`` before the softmax; seven values each, in the order of EMOTIONS.

    Temperature scaling (Guo et al. 2017) is an equal ``scale`` of 1 / T without bias, vector scaling is any. The
    inverse is stored because it stays finite where the best temperature is not: logits without information have
    ``scale`` 0. Raises ModelError unless there are seven finite values; also for a negative scale (reversed order).
    """

    combination: Combination
    scale: tuple[float, ...]
    bias: tuple[float, ...]

    def __post_init__(self) -> None:
        n = len(EMOTIONS)
        if len(self.scale) != n or len(self.bias) != n:
            raise ModelError(
                f"calibration of {self.combination!r}: {len(self.scale)} scales and {len(self.bias)} "
                f"biases, expected {n} of each"
            )
        if not all(map(math.isfinite, (*self.scale, *self.bias))) or min(self.scale) < 0:
            raise ModelError(
                f"calibration of {self.combination!r}: scale {self.scale}, bias {self.bias}; expected "
                "finite numbers, scale >= 0"
            )

    def probabilities(self, combination: Combination, logits: ArrayLike) -> Floats:
        """float64 [..., 7] of logits [..., 7]; raises InputError for logits of another combination."""
        if combination != self.combination:
            raise InputError(
                f"the calibration of {self.combination!r} was given logits of {combination!r}; "
                "each combination has its own"
            )
        return softmax(np.asarray(logits, np.float64) * self.scale + self.bias)


def temperature(combination: Combination, value: float) -> Scaling:
    """The scaling of one temperature > 0; infinity gives all labels the same probability."""
    if not value > 0:
        raise ModelError(f"calibration of {combination!r}: temperature {value}, expected > 0")
    return Scaling(combination, (1 / value,) * len(EMOTIONS), (0.0,) * len(EMOTIONS))


def softmax(logits: ArrayLike) -> Floats:
    """float64 [..., n], sum 1 over the last axis."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def prediction_set(probabilities: ArrayLike, limit: float) -> tuple[Emotion, ...]:
    """The labels of one estimate whose score 1 - p is at most ``limit`` (Sadinle et al. 2019), likeliest first.

    ``limit`` is fitted by calibration.conformal for the stated coverage. Never empty: it always contains the top label.
    """
    values = np.asarray(probabilities, np.float64)
    order = np.argsort(-values, kind="stable")
    inside = [i for place, i in enumerate(order) if place == 0 or 1 - values[i] <= limit]
    return tuple(EMOTIONS[i] for i in inside)
