"""The validation predictions of one combination, checked: nothing is fitted on too little, on gaps or on NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, Combination
from edge_mer.contract.errors import EdgeMerError

# A temperature needs few; a conformal limit at 90 % moves by about 3 points (one standard error) at 100.
FEWEST: Final = 100
# Fewer windows than this tell nothing of one person.
LEAST: Final = 40


class CalibrationError(EdgeMerError):
    """Predictions that a calibration cannot be fitted on, or be judged by."""


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """``logits`` [n, 7] of one combination, true ``labels`` [n] (index in EMOTIONS), ``groups`` [n] (actor, dialogue).

    Rows of one group are never on both sides of a split. Raises CalibrationError, with figures, for fewer than
    ``fewest`` rows or 2 groups, for a label that never occurs, for NaN or Inf, and for shapes that do not fit.
    """

    combination: Combination
    logits: NDArray[np.floating]
    labels: NDArray[np.integer]
    groups: NDArray[np.generic]
    fewest: int = FEWEST

    def __post_init__(self) -> None:
        name, n, classes = f"calibration of {self.combination!r}", len(self.labels), len(EMOTIONS)
        if self.logits.shape != (n, classes) or self.groups.shape != (n,) or self.labels.shape != (n,):
            raise CalibrationError(
                f"{name}: logits {self.logits.shape}, labels {self.labels.shape}, groups "
                f"{self.groups.shape}; expected [n, {classes}], [n], [n]"
            )
        if n < self.fewest:
            raise CalibrationError(f"{name}: {n} samples, expected at least {self.fewest}; add validation data")
        wrong = np.flatnonzero(~np.isfinite(self.logits).all(1))
        if len(wrong):
            raise CalibrationError(
                f"{name}: logits of {len(wrong)} of {n} samples hold NaN or Inf, first row "
                f"{wrong[0]}; mend the model or leave these out"
            )
        if outside := np.flatnonzero((self.labels < 0) | (self.labels >= classes)).tolist():
            raise CalibrationError(
                f"{name}: label {self.labels[outside[0]]} in row {outside[0]}, expected 0 to {classes - 1}"
            )
        counts = np.bincount(self.labels, minlength=classes)
        if (counts == 0).any():
            missing = ", ".join(EMOTIONS[i] for i in np.flatnonzero(counts == 0))
            raise CalibrationError(
                f"{name}: no sample of {missing} among {n} ("
                f"{', '.join(f'{e} {c}' for e, c in zip(EMOTIONS, counts, strict=True))}); "
                "every label needs some"
            )
        if (found := len(np.unique(self.groups))) < 2:
            raise CalibrationError(f"{name}: {found} group among {n} samples, expected at least 2 actors or dialogues")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.integer]) -> Validation:
        """Some of the rows, checked anew."""
        return Validation(self.combination, self.logits[rows], self.labels[rows], self.groups[rows], self.fewest)

    def folds(self, most: int = 10) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(fitted on, judged on) rows: every group is judged once; at most ``most`` folds of whole groups."""
        return folds(self.groups, most)


def folds(groups: NDArray[np.generic], most: int = 10) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """As ``Validation.folds``, of ``groups`` [n]; one group alone has nothing to be fitted on and gives no fold."""
    names, of_row = np.unique(groups, return_inverse=True)
    count = min(most, len(names))
    for k in range(count if count > 1 else 0):
        yield np.flatnonzero(of_row % count != k), np.flatnonzero(of_row % count == k)


def people_of(groups: NDArray[np.generic]) -> list[NDArray[np.int64]]:
    """The rows of each person with at least LEAST windows."""
    names, of_row, count = np.unique(groups, return_inverse=True, return_counts=True)
    return [np.flatnonzero(of_row == i) for i in range(len(names)) if count[i] >= LEAST]
