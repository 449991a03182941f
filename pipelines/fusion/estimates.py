"""What a model says about the rows of a set under every pattern of missing modalities, and the figures of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, Combination, combination_of, modalities_of
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FeatureSpec

Floats = NDArray[np.float32]
Index = NDArray[np.int64]
RATES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """``emotion`` float32 [n, C]: probabilities or logits, C = 0 without the task; ``sentiment`` float32 [n] or NaN."""

    emotion: Floats
    sentiment: Floats


Predict = Callable[[Index], Predictions]
"""Given the pattern of each row (int64 [n], index of COMBINATIONS), an estimate of each row."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Chosen labels of the scored rows, by column: a combination, or a rate of missing modalities as ``"0.3"``.

    ``emotion`` int64 [n] (-1 without the task) and ``sentiment`` float32 [n] (NaN without the task).
    """

    emotion: Mapping[str, Index]
    sentiment: Mapping[str, Floats]


def columns(layout: FeatureSpec) -> list[str]:
    """Combinations that the set has, then the rates."""
    return [*layout.combinations, *map(str, RATES)]


def patterns(layout: FeatureSpec, column: str, count: int) -> Index:
    """The pattern of each of ``count`` rows; the same for every model, so that differences are paired."""
    if column in COMBINATIONS:
        return np.full(count, COMBINATIONS.index(column), np.int64)
    return random_patterns(layout, float(column), count)


def random_patterns(layout: FeatureSpec, rate: float, count: int) -> Index:
    """One modality of each row stays, uniformly drawn; others go until ``rate`` of all entries is missing.

    Source: the random protocol of GCNet (ALGORITHMS.md 1.2). Where each row has M modalities, at most (M - 1) / M
    can be missing: a higher rate means that.
    """
    random = np.random.default_rng(round(1000 * rate))
    used = list(layout.arrays)
    kept = np.ones((count, len(used)), np.bool_)
    stays = random.integers(len(used), size=count)
    others = [(i, j) for i in range(count) for j in range(len(used)) if j != stays[i]]
    for k in random.permutation(len(others))[: round(rate * kept.size)]:
        kept[others[k]] = False
    names = [combination_of({m for m, keep in zip(used, row, strict=True) if keep}) for row in kept]
    return np.array([COMBINATIONS.index(c) for c in names])


def answers(layout: FeatureSpec, predict: Predict, count: int, only: tuple[Combination, ...] | None = None) -> Answers:
    """Labels of ``count`` rows in every column; ``only`` leaves out other combinations and the rates."""
    emotion: dict[str, Index] = {}
    sentiment: dict[str, Floats] = {}
    for column in columns(layout) if only is None else only:
        predicted = predict(patterns(layout, column, count))
        has_emotion = bool(predicted.emotion.shape[1])
        emotion[column] = predicted.emotion.argmax(1) if has_emotion else np.full(count, UNKNOWN, np.int64)
        sentiment[column] = predicted.sentiment
    return Answers(emotion, sentiment)


def figures(rows: Rows, index: Index, emotion: Index, sentiment: Floats) -> dict[str, float]:
    """All figures that the labels of the rows ``index`` and the given answers [len(index)] allow."""
    layout, out = rows.layout, dict[str, float]()
    if layout.emotions and (emotion >= 0).all():
        out |= _classes("emotion", rows.emotion[index], emotion, len(layout.emotions))
    if np.isnan(sentiment).any():
        return out
    if layout.sentiment == "score":
        truth = rows.score[index]
        out |= _classes("sentiment", (truth >= 0).astype(np.int64), (sentiment >= 0).astype(np.int64), 2)
        out["acc2_non0"] = metrics.accuracy_2(truth, sentiment, zero_is_positive=False)
        real = truth != 0
        table = metrics.confusion((truth > 0)[real].astype(np.int64), (sentiment > 0)[real].astype(np.int64), 2)
        out["f1_non0"] = metrics.weighted_f1(table)
        for name, limits in layout.bins.items():
            out[name] = float(np.mean(np.digitize(truth, limits) == np.digitize(sentiment, limits)))
        out["acc7"] = metrics.accuracy_7(truth, sentiment)
        out["mae"], out["corr"] = metrics.mae(truth, sentiment), metrics.correlation(truth, sentiment)
    if layout.sentiment == "ordinal":
        known = rows.ordinal[index] != NO_ORDINAL
        out |= _classes("sentiment", rows.ordinal[index][known] + 1, np.digitize(sentiment[known], [-0.5, 0.5]), 3)
    return out


def quality(rows: Rows, index: Index, predict: Predict, only: tuple[Combination, ...] | None = None) -> float:
    """What selection maximises on validation rows: the mean over combinations, and tasks, of one figure per task.

    Emotion: mean of accuracy and weighted F1. Sentiment: mean of weighted F1 and, where there is a score, Corr.
    """
    used_combinations = only or rows.layout.combinations
    predicted = answers(rows.layout, predict, len(index), used_combinations)
    totals = []
    for c in used_combinations:
        found = figures(rows, index, predicted.emotion[c], predicted.sentiment[c])
        used = ("emotion_accuracy", "emotion_wf1", "sentiment_wf1", "corr")
        totals.append(np.mean([found[name] for name in used if name in found]))
    return float(np.mean(totals))


def _classes(task: str, truth: Index, guess: Index, classes: int) -> dict[str, float]:
    table = metrics.confusion(truth, guess, classes)
    return {
        f"{task}_accuracy": metrics.accuracy(table),
        f"{task}_wf1": metrics.weighted_f1(table),
        f"{task}_ua": metrics.uar(table),
    }


def has(combination: Index, layout: FeatureSpec) -> dict[str, NDArray[np.bool_]]:
    """Which rows hold each modality under the patterns ``combination`` [n]."""
    return {
        m: np.isin(combination, [i for i, c in enumerate(COMBINATIONS) if m in modalities_of(c)]) for m in layout.arrays
    }
