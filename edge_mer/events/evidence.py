"""Evidence of one estimate that somebody expresses a label: a log-likelihood ratio against "nobody expresses it".

The ratio is that of a logistic regression on the log odds of the label's calibrated probability (Brümmer and du Preez
2006), bounded by what the recordings it was fitted on can support (Vergeer et al. 2016). It is fitted so that the mean
factor ``exp(ratio)`` of a person who expresses nothing is at most 1 (``python -m calibration.alarms --fit``).
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from edge_mer.contract.domain import EMOTIONS, Combination, Emotion, EventLabel
from edge_mer.contract.messages import Estimate

LEAST: Final = 1e-6
# Reasons of an estimate that withholds its label because it is not sure: its probabilities say so themselves.
UNSURE: Final = ("set too large", "low confidence")
# A sentiment extreme: the direction in which its score grows.
EXTREMES: Final[dict[EventLabel, float]] = {"positive": 1.0, "negative": -1.0}
EMOTION_OF: Final[dict[str, Emotion]] = {name: name for name in EMOTIONS}


class Ratio(Struct, frozen=True):
    """``intercept + slope * score`` in nats, between ``floor`` and ``cap``."""

    intercept: float
    slope: float
    floor: float
    cap: float

    def of(self, score: float) -> float:
        return min(self.cap, max(self.floor, self.intercept + self.slope * score))


def score_of(label: EventLabel, estimate: Estimate) -> float | None:
    """The log odds of the label's probability, or the sentiment in its direction; None where there is none."""
    if label in EXTREMES:
        return None if estimate.sentiment is None else EXTREMES[label] * estimate.sentiment
    if estimate.probabilities is None:
        return None
    share = min(1 - LEAST, max(LEAST, estimate.probabilities[EMOTION_OF[label]]))
    return math.log(share / (1 - share))


def ratio_of(label: EventLabel, estimate: Estimate, ratios: dict[Combination, Ratio]) -> float | None:
    """Nats; None where the estimate says nothing of this label.

    An estimate that abstains because its window cannot be trusted (out of distribution, unbound, too few tokens) is
    never evidence for a label, only against it. One that is not sure counts as its probabilities say.
    """
    ratio, score = ratios.get(estimate.combination), score_of(label, estimate)
    if ratio is None or score is None:
        return None
    nats = ratio.of(score)
    is_void = estimate.abstain is not None and not estimate.abstain.startswith(UNSURE)
    return min(0.0, nats) if is_void else nats
