"""Contribution of each present modality to an estimate: exact Shapley values over the merged graphs of the subsets.

All eight subsets of three modalities are evaluated, so nothing is sampled and nothing is imputed: the graph of a subset
has no other inputs. The value of the empty subset is a fixed prior.
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
EMPTY: Final[Subset] = frozenset()
# Values of the empty subset: the uniform prior of the training, and neutral sentiment.
PRIOR: Final = 1 / len(EMOTIONS)
NEUTRAL: Final = 0.0


def subsets_of(present: Subset) -> list[Subset]:
    """Every subset, the empty one first and the full set last."""
    names = [m for m in MODALITIES if m in present]
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


def contributions(worth: Mapping[Subset, float], present: Subset) -> dict[Modality, float]:
    """Shapley values (1953) of all modalities; exactly 0 for one that is not ``present``.

    ``worth``: value of every subset of ``present``, including the empty one (the prior); KeyError for a missing one.
    The contributions sum to ``worth[present] - worth[empty]``.
    """
    players, shares = len(present), dict.fromkeys(MODALITIES, 0.0)
    for modality in present:
        for others in subsets_of(present - {modality}):
            weight = factorial(len(others)) * factorial(players - len(others) - 1) / factorial(players)
            shares[modality] += weight * (worth[others | {modality}] - worth[others])
    return shares


def explain(pending: Pending, model: FusionModel) -> Explain:
    """Explain the newest window; the label is the published one, before any abstention.

    The output of this window is explained, not its average with earlier windows.
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
    predictions = {
        s: model.predict(combination_of(s), {m: pending.windows[m] for m in s}) for s in subsets_of(present)[1:-1]
    }
    predictions[present] = pending.prediction
    label = max(EMOTIONS, key=lambda e: published[e])
    place = EMOTIONS.index(label)
    has_sentiment = pending.prediction.sentiment is not None
    return Explain(
        combination=pending.combination,
        label=label,
        contributions=_shared(predictions, present, lambda p: p.probabilities[place], PRIOR),
        sentiment_contributions=_shared(predictions, present, _sentiment, NEUTRAL) if has_sentiment else None,
        mask_epoch=pending.mask_epoch,
    )


def _shared(
    predictions: Mapping[Subset, Prediction], present: Subset, worth: Callable[[Prediction], float], prior: float
) -> dict[Modality, float]:
    return contributions({EMPTY: prior, **{s: worth(p) for s, p in predictions.items()}}, present)


def _sentiment(prediction: Prediction) -> float:
    """A subset without sentiment adds nothing to the prior."""
    return NEUTRAL if prediction.sentiment is None else prediction.sentiment
