"""Split-conformal prediction (Vovk et al. 2005): a set, or an interval, that holds the truth with a stated coverage.

The guarantee is over exchangeable samples: of people and rooms as in the validation data, and of no others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from calibration.validation import CalibrationError

Floats = NDArray[np.floating]


def limit(scores: Floats, coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest of ``scores`` [n]: a new score is at most this with that probability.

    Raises CalibrationError when n is too small for ``coverage``, or when a score is not finite.
    """
    if not 0 < coverage < 1:
        raise CalibrationError(f"coverage {coverage}, expected between 0 and 1")
    n, wrong = len(scores), int((~np.isfinite(scores)).sum())
    if wrong:
        raise CalibrationError(f"{wrong} of {n} conformal scores are NaN or Inf")
    rank = math.ceil((n + 1) * coverage - 1e-9)
    if rank > n:
        raise CalibrationError(
            f"{n} samples are too few for a coverage of {coverage}; expected at least "
            f"{math.ceil(coverage / (1 - coverage) - 1e-9)}"
        )
    return float(np.sort(scores)[rank - 1])


def label_scores(probabilities: Floats, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """1 - p of the true label [n] (Sadinle et al. 2019); edge_mer.fusion.confidence.prediction_set goes with it."""
    return np.asarray(1 - probabilities[np.arange(len(labels)), labels], np.float64)


def covered(probabilities: Floats, labels: NDArray[np.integer], limits: Floats | float) -> NDArray[np.bool_]:
    """[n]: whether the true label is in the set, which always holds the top label."""
    within = label_scores(probabilities, labels) <= limits
    return np.asarray(within | (probabilities.argmax(1) == labels), np.bool_)


def set_sizes(probabilities: Floats, limits: Floats | float) -> NDArray[np.int64]:
    """Labels in each set [n], at least 1; ``limits`` is one for all, or [n]."""
    within = 1 - probabilities <= np.broadcast_to(limits, len(probabilities))[:, None]
    sizes: NDArray[np.int64] = np.maximum(within.sum(1), 1).astype(np.int64)
    return sizes


def binomial_interval(n: int, coverage: float, level: float = 0.95) -> tuple[float, float]:
    """Between which shares the coverage measured on ``n`` independent samples lies with probability ``level``."""
    low, high = binom.interval(level, n, coverage)
    return float(low) / n, float(high) / n
