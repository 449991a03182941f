"""How far confidence is from accuracy, and how much of that a perfect model of the same size would show too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.validation import CalibrationError
from edge_mer.session.evaluation_metrics import paired_bootstrap

BINS: Final = 15
DRAWS: Final = 1000
Floats = NDArray[np.floating]
Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Equal-mass bins, least confident first: mean ``confidence``, ``accuracy`` and ``count`` of those in use."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap, weighted by count."""
        return float(self.count @ np.abs(self.confidence - self.accuracy) / self.count.sum())


@dataclass(frozen=True, slots=True)
class Reliability:
    """ECE with its 95 % interval (whole groups resampled), and the mean ``null`` of a perfectly calibrated model.

    ``null_high``: 95 % of perfect models of this size and confidence stay below it.
    """

    samples: int
    ece: float
    low: float
    high: float
    null: float
    null_high: float

    @property
    def excess(self) -> float:
        """What is to be judged: ECE over the null; may be negative."""
        return self.ece - self.null


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """``risk``: share of errors among the ``coverage`` share that is most confident, at each confidence."""

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve (AURC), lower is better."""
        return float(np.diff(self.coverage, prepend=0.0) @ self.risk)


def bins(confidence: Floats, correct: Hits, most: int = BINS) -> Bins:
    """Samples of equal confidence share a bin, so that their order does not matter."""
    _check(confidence, correct)
    edges = np.quantile(confidence, np.arange(1, most) / most)
    which = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(which, minlength=most)
    held = count > 0
    sums = (np.bincount(which, np.asarray(x, np.float64), most)[held] for x in (confidence, correct))
    mean_confidence, accuracy = (s / count[held] for s in sums)
    return Bins(mean_confidence, accuracy, count[held].astype(np.int64))


def null_errors(confidence: Floats, most: int = BINS, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """ECE [draws] of models that are right exactly as often as they say, on these confidences."""
    random = np.random.default_rng(seed)
    return np.array([bins(confidence, random.random(len(confidence)) < confidence, most).error for _ in range(draws)])


def excess(confidence: Floats, correct: Hits, most: int = BINS, draws: int = DRAWS, seed: int = 0) -> float:
    """ECE over the mean null, without the interval."""
    return bins(confidence, correct, most).error - float(null_errors(confidence, most, draws, seed).mean())


def reliability(
    confidence: Floats,
    correct: Hits,
    groups: NDArray[np.generic],
    most: int = BINS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Reliability:
    """Confidence [n] of the top label, whether it was ``correct`` [n], and ``groups`` [n] (actor, dialogue)."""
    _check(confidence, correct)
    interval = paired_bootstrap(lambda rows: bins(confidence[rows], correct[rows], most).error, groups, draws, seed)
    null = null_errors(confidence, most, draws, seed)
    return Reliability(
        len(confidence),
        interval.difference,
        interval.low,
        interval.high,
        float(null.mean()),
        float(np.quantile(null, 0.95)),
    )


def risk_coverage(confidence: Floats, correct: Hits) -> RiskCoverage:
    """Answer only above a confidence, for every such threshold (El-Yaniv and Wiener 2010)."""
    _check(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    wrong, answered = np.cumsum(~correct[order]), np.arange(1, len(order) + 1)
    last = np.append(np.diff(confidence[order]) != 0, True)
    return RiskCoverage(answered[last] / len(order), wrong[last] / answered[last])


def _check(confidence: Floats, correct: Hits) -> None:
    n = len(confidence)
    if n == 0 or confidence.shape != (n,) or correct.shape != (n,):
        raise CalibrationError(f"confidence {confidence.shape}, correct {correct.shape}; expected both [n], n >= 1")
    wrong = np.flatnonzero(~((confidence >= 0) & (confidence <= 1)))
    if len(wrong):
        raise CalibrationError(
            f"confidence {confidence[wrong[0]]} in row {wrong[0]} ({len(wrong)} of {n} such), expected 0 to 1"
        )
