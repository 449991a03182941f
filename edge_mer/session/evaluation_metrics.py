"""Classification metrics in numpy, the same for scoring on the device and for training offline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]


def confusion(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts [classes, classes]: row = truth, column = prediction. Raises ValueError for unequal lengths."""
    if np.shape(truth) != np.shape(predicted):
        raise ValueError(f"truth has {np.shape(truth)} labels, predicted {np.shape(predicted)}")
    cells = np.asarray(truth, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(table: NDArray[np.int64]) -> float:
    """Share of correct predictions in a confusion table (WA)."""
    return float(np.trace(table) / max(table.sum(), 1))


def recalls(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall per class [classes]; NaN for a class without examples."""
    support = table.sum(1)
    return np.where(support > 0, np.diag(table) / np.maximum(support, 1), np.nan)


def uar(table: NDArray[np.int64]) -> float:
    """Unweighted average recall (UA) over the classes that occur."""
    present = table.sum(1) > 0
    return float(recalls(table)[present].mean()) if present.any() else 0.0


def f1_scores(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 per class [classes]; 0 where a class neither occurs nor is predicted."""
    total = table.sum(0) + table.sum(1)
    scores: NDArray[np.float64] = 2 * np.diag(table) / np.maximum(total, 1)
    return scores


def macro_f1(table: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur."""
    present = table.sum(1) > 0
    return float(f1_scores(table)[present].mean()) if present.any() else 0.0


def weighted_f1(table: NDArray[np.int64]) -> float:
    """F1 weighted by the number of examples of each class."""
    return float(f1_scores(table) @ table.sum(1) / max(table.sum(), 1))


def mae(truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """Mean absolute error."""
    return float(np.abs(np.asarray(truth) - np.asarray(predicted)).mean())


def correlation(truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """Pearson correlation; 0 where either side is constant."""
    if np.std(truth) == 0 or np.std(predicted) == 0:
        return 0.0
    return float(np.corrcoef(truth, predicted)[0, 1])


def accuracy_2(truth: NDArray[np.floating], predicted: NDArray[np.floating], zero_is_positive: bool = True) -> float:
    """Acc-2 of sentiment. has-0: sign >= 0 over all rows; non-0: sign > 0 over the rows whose truth is not 0."""
    t, p = np.asarray(truth), np.asarray(predicted)
    if zero_is_positive:
        return float(((t >= 0) == (p >= 0)).mean()) if len(t) else 0.0
    kept = t != 0
    return float(((t[kept] > 0) == (p[kept] > 0)).mean()) if kept.any() else 0.0


def accuracy_7(truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> float:
    """Acc-7 of sentiment in [-3, 3]: share of rows whose rounded values agree."""
    t, p = (np.round(np.clip(x, -3, 3)) for x in (np.asarray(truth), np.asarray(predicted)))
    return float((t == p).mean()) if len(t) else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with its 95 % interval, and the share of draws on the other side of zero, doubled."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    difference: Callable[[NDArray[np.int64]], float], groups: NDArray[np.generic], draws: int = 1000, seed: int = 0
) -> Interval:
    """Resample whole ``groups`` [n] (videos, actors, dialogues) with replacement (Efron and Tibshirani 1993).

    ``difference`` takes row indices, so that both systems are scored on the same rows. Raises ValueError for no rows.
    """
    names, of_row = np.unique(groups, return_inverse=True)
    if not len(names):
        raise ValueError("groups is empty; expected one name per row")
    members = [np.flatnonzero(of_row == g) for g in range(len(names))]
    random = np.random.default_rng(seed)
    drawn = np.array(
        [
            difference(np.concatenate([members[g] for g in random.integers(len(names), size=len(names))]))
            for _ in range(draws)
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    return Interval(difference(np.arange(len(groups))), float(low), float(high), min(1.0, 2 * beyond))
