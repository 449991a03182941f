"""Drawn validation predictions whose truth is known: calibrated by construction, then spoiled on purpose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.validation import Validation
from edge_mer.contract.domain import Combination
from edge_mer.fusion.confidence import softmax


def honest_logits(n: int, seed: int = 0, spread: float = 2.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits [n, 7], and labels drawn from just those probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=spread, size=(n, 7))
    labels = (softmax(logits).cumsum(1) > random.random((n, 1))).argmax(1)
    return logits, labels.astype(np.int64)


def validation(
    n: int = 1500, sharper: float = 1.0, seed: int = 0, combination: Combination = "av", groups: int = 12
) -> Validation:
    """A model that is ``sharper`` times as sure as it should be."""
    logits, labels = honest_logits(n, seed)
    return Validation(combination, logits * sharper, labels, np.arange(n) % groups)


def shuffled(n: int = 1500, seed: int = 0) -> Validation:
    """A very sure model whose labels have nothing to do with its logits."""
    data = validation(n, sharper=3, seed=seed)
    return Validation("av", data.logits, np.random.default_rng(seed).permutation(data.labels), data.groups)
