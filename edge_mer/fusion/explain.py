"""What each present modality adds to an estimate: exact Shapley contributions over the merged graphs of the subsets.

The eight subsets of three modalities are few enough to ask each one, so nothing is sampled and nothing is imputed: the
graph of a subset has never had the other inputs. The empty subset is worth a fixed prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from math import factorial
from typing import Final

from edge_mer.contract.domain import EMOTIONS, MODALITIES, Modality, combination_of
from edge_mer.contract.messages import Explain
from edge_mer.fusion.estimate import Pending
from edge_mer.fusion.model import FusionModel, Prediction

Subset = frozenset[Modality]
NOBODY: Final[Subset] = frozenset()
# What is said of nobody: the uniform prior that the model was trained under, and neutral sentiment.
PRIOR: Final = 1 / len(EMOTIONS)
NEUTRAL: Final = 0.0


def subsets_of(present: Subset) -> list[Subset]:
    """Every subset, the empty one first and the whole last."""
    names = [m for m in MODALITIES if m in present]
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


def contributions(worth: Mapping[Subset, float], present: Subset) -> dict[Modality, float]:
    """Shapley values (1953) of all modalities; exactly 0 for one that is not ``present``.

    ``worth`` of every subset of ``present``, the empty one (the prior) included; KeyError for one that is lacking. They
    sum to ``worth[present] - worth[empty]``.
    """
    players, shares = len(present), dict.fromkeys(MODALITIES, 0.0)
    for modality in present:
        for others in subsets_of(present - {modality}):
            weight = factorial(len(others)) * factorial(players - len(others) - 1) / factorial(players)
            shares[modality] += weight * (worth[others | {modality}] - worth[others])
    return shares


def explain(pending: Pending, model: FusionModel) -> Explain:
    """Why the newest window says what is published of it; the label is the published one, before any abstention.

    The window's own output is explained, not the average with the windows before it.
    """
    present: Subset = frozenset(pending.windows)
    published = pending.estimate.probabilities if pending.estimate else None
    if pending.prediction is None or published is None:
        return Explain(
            combination=pending.combination,
            label=None,
            contributions=dict.fromkeys(MODALITIES, 0.0),
            sentiment_contributions=None,
            mask_epoch=pending.mask_epoch,
        )
    said = {s: model.predict(combination_of(s), {m: pending.windows[m] for m in s}) for s in subsets_of(present)[1:-1]}
    said[present] = pending.prediction
    label = max(EMOTIONS, key=lambda e: published[e])
    place = EMOTIONS.index(label)
    has_sentiment = pending.prediction.sentiment is not None
    return Explain(
        combination=pending.combination,
        label=label,
        contributions=_shared(said, present, lambda p: p.probabilities[place], PRIOR),
        sentiment_contributions=_shared(said, present, _sentiment, NEUTRAL) if has_sentiment else None,
        mask_epoch=pending.mask_epoch,
    )


def _shared(
    said: Mapping[Subset, Prediction], present: Subset, worth: Callable[[Prediction], float], prior: float
) -> dict[Modality, float]:
    return contributions({NOBODY: prior, **{s: worth(p) for s, p in said.items()}}, present)


def _sentiment(prediction: Prediction) -> float:
    """A subset of which no sentiment is known adds nothing to the prior."""
    return NEUTRAL if prediction.sentiment is None else prediction.sentiment
