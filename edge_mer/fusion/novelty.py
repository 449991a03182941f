"""Distance of a window to the windows of the confidence fit, to detect music, television or a photograph.

One Gaussian per modality over a few numbers of the encoder's tokens, and the Mahalanobis distance to it (Lee et al.
2018). A window beyond the limit of nearly all held-out real windows is out of distribution: its logits shrink with the
distance (Tomani et al. 2023), and no label is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.contract.modalities import TABLE, Modality
from edge_mer.fusion.window import TokenWindow

Floats = NDArray[np.float64]
# Smaller changes of a token are ignored; it keeps the logarithm finite.
LEAST: Final = 1e-3


class Gaussian(Struct, frozen=True, dict=True):
    """``whiten``: lower triangle, row by row, of the inverse Cholesky factor of the covariance.

    Raises ModelError for shapes that do not fit and for numbers that are not finite.
    """

    mean: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if [len(row) for row in self.whiten] != list(range(1, len(self.mean) + 1)):
            raise ModelError(f"{len(self.whiten)} rows of a triangle for {len(self.mean)} numbers")
        if not np.isfinite([*self.mean, *sum(self.whiten, ())]).all():
            raise ModelError("expected finite numbers, got NaN or Inf")

    @cached_property
    def _factor(self) -> Floats:
        factor = np.zeros((len(self.mean),) * 2)
        for i, row in enumerate(self.whiten):
            factor[i, : i + 1] = row
        return factor

    def distance(self, description: Floats) -> float:
        """Mahalanobis distance to the mean; infinite for another number of values, and for those not finite."""
        if description.shape != (len(self.mean),) or not np.isfinite(description).all():
            return float("inf")
        return float(np.linalg.norm(self._factor @ (description - self.mean)))


class Contrast(Struct, frozen=True):
    """Tells ``others``, which sound like people and are not, from ``people``: by the ratio of two Gaussians.

    A window is refused from a score of ``limit`` on, which the share ``level`` of the windows of any corpus of people
    that the fit had not seen stays below.
    """

    people: Gaussian
    others: Gaussian
    limit: float
    level: float

    def score(self, description: Floats) -> float:
        """How much nearer it is to the others than to people: a difference of squared distances."""
        return self.people.distance(description) ** 2 - self.others.distance(description) ** 2

    def doubt(self, description: Floats) -> float:
        """Above 1 for what is refused."""
        return max(0.0, 1 + (self.score(description) - self.limit) / len(description))


class Novelty(Struct, frozen=True, dict=True):
    """Distribution of the windows of one modality at the fit, described by ``describe``.

    ``whiten``: lower triangle, row by row, of the inverse Cholesky factor of the covariance. ``limit``: the distance
    that the share ``level`` of ``samples`` held-out windows, in ``groups`` (actors, dialogues), does not exceed.
    ``contrast``: what else is refused, however near it is. Raises ModelError for shapes that do not fit and for numbers
    that are not finite.
    """

    modality: Modality
    mean: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...]
    limit: float
    level: float
    samples: int
    groups: int
    contrast: Contrast | None = None

    def __post_init__(self) -> None:
        rule = self.contrast
        try:
            parts = [self.gaussian, *((rule.people, rule.others) if rule is not None else ())]
        except ModelError as error:
            raise ModelError(f"novelty of {self.modality}: {error}") from error
        if not self.limit > 0 or not np.isfinite([self.limit, rule.limit if rule is not None else 0.0]).all():
            raise ModelError(f"novelty of {self.modality}: limit {self.limit}; expected finite numbers, limit > 0")
        if len({len(part.mean) for part in parts}) != 1:
            raise ModelError(f"novelty of {self.modality}: its contrast is of other descriptions")

    @cached_property
    def gaussian(self) -> Gaussian:
        return Gaussian(self.mean, self.whiten)

    def distance(self, description: Floats) -> float:
        """Of one window to the mean; infinite for tokens of other encoders or not finite."""
        return self.gaussian.distance(description)

    def doubt(self, window: TokenWindow) -> float:
        """Distance over limit, or the doubt of the contrast: above 1 for a window out of distribution, 0 for one that
        is too short."""
        description = describe(self.modality, window.values[window.mask > 0], window.age[window.mask > 0])
        if description is None:
            return 0.0
        far = self.distance(description) / self.limit
        return far if self.contrast is None or not np.isfinite(far) else max(far, self.contrast.doubt(description))


def describe(modality: Modality, values: NDArray[np.floating], age: NDArray[np.floating]) -> Floats | None:
    """A few numbers of the valid tokens [n, d], oldest first; None where there are too few.

    Audio: the mean token, how much the tokens vary and how much from one to the next. Video: the same of the log
    posterior; a photograph does not vary. Text: the number of sub-words per word, which is large for words outside the
    vocabulary, as in another language. Sub-words of one word have the same ``age`` [n] in seconds.
    """
    row = TABLE[modality]
    if row.segments:
        if not len(values):
            return None
        words = 1 + int(np.count_nonzero(np.diff(age)))
        return np.array([len(values) / np.sqrt(words), np.sqrt(words)])
    if len(values) < 2:
        return None
    tokens = np.asarray(values, np.float64)
    level = np.log(np.maximum(tokens, 0) + LEAST) if row.posterior else tokens
    spread, change = float(tokens.std(0).mean()), float(np.abs(np.diff(tokens, axis=0)).mean())
    return np.array([*level.mean(0), np.log(spread + LEAST), np.log(change + LEAST)])


def doubts(known: Mapping[Modality, Novelty], windows: Mapping[Modality, TokenWindow]) -> dict[Modality, float]:
    """``Novelty.doubt`` of each window whose modality was fitted."""
    return {m: known[m].doubt(w) for m, w in windows.items() if m in known}
