"""From the predictions of one combination to its fit, and what that fit is worth on groups it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.conformal import binomial_interval, covered, label_scores, limit, set_sizes
from calibration.predictions import Predictions
from calibration.reliability import DRAWS, Reliability, excess, reliability
from calibration.scaling import METHODS, cautious
from calibration.validation import Validation, folds, people_of
from edge_mer.contract.domain import Combination, combination_of, modalities_of
from edge_mer.fusion.calibration import Fit
from edge_mer.fusion.confidence import Scaling, softmax

# A label is given from this calibrated confidence on, where it is right at least as often; and for no set that holds
# more than half of the seven labels.
FLOOR: Final = 0.4
LARGEST_SET: Final = 4
# Sets are as large as PEOPLE of the persons need for their coverage.
PEOPLE: Final = 0.9
# From so many groups on, 14 numbers are learned well. Training draws all labels evenly, and most texts are neutral:
# that takes a bias per label.
MANY: Final = 1000
Floats = NDArray[np.float64]
Method = Callable[[Validation], Scaling]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Everything here was measured on groups that the fit of their fold has not seen.

    ``before`` and ``after`` the scaling; ``rivals``: ECE excess of each method by name. ``coverage`` of the sets with
    the binomial ``interval`` about what was stated; mean ``size`` of a set; ``by_person`` the coverage of each person
    with enough windows. ``sentiment_coverage``: None without scores. ``answered``: share of windows that are given a
    label, ``accuracy`` of these labels. ``confidence`` [n] and ``correct`` [n] are what the diagrams show.
    """

    before: Reliability
    after: Reliability
    rivals: Mapping[str, float]
    coverage: float
    interval: tuple[float, float]
    size: float
    sentiment_coverage: float | None
    answered: float
    accuracy: float
    by_person: Floats
    confidence: Floats
    correct: NDArray[np.bool_]


def fit_measured(given: Predictions, coverage: float) -> Fit:
    """A temperature, and from thousands of people a scale and a bias per label; the conformal limits beside it.

    Raises CalibrationError for too few samples for ``coverage``.
    """
    data = given.emotion
    scaling = METHODS[method_of(data)](data)
    p = scaling.probabilities(data.combination, data.logits)
    return Fit(
        scaling=scaling,
        measured=True,
        samples=len(data),
        groups=len(np.unique(data.groups)),
        coverage=coverage,
        set_limit=set_limit(label_scores(p, data.labels), data.groups, coverage),
        sentiment_radius=limit(given.error, coverage) if len(given.error) else None,
        floor=FLOOR,
        largest_set=LARGEST_SET,
    )


def method_of(data: Validation) -> str:
    """The scaling of METHODS for ``data``; few people tell no more than one temperature."""
    return "vector" if len(np.unique(data.groups)) >= MANY else "temperature"


def set_limit(scores: Floats, groups: NDArray[np.generic], coverage: float) -> float:
    """The conformal limit of ``scores`` [n] that gives PEOPLE of the persons ``groups`` [n] their ``coverage``, and all
    windows together theirs: clips are no people, and a new one is like one of these, not like their mean."""
    people = people_of(groups)
    own = [limit(scores[rows], coverage) for rows in people]
    together = limit(scores, coverage)
    return max(together, float(np.quantile(own, PEOPLE, method="higher"))) if own else together


def worst_of(by_person: Floats, count: int = 20, draws: int = 1000, seed: int = 0) -> float:
    """What the coverage of the worst of ``count`` persons, drawn anew, reaches in 9 of 10 draws; NaN for nobody."""
    if not len(by_person):
        return float("nan")
    drawn = np.random.default_rng(seed).choice(by_person, (draws, count))
    return float(np.quantile(drawn.min(1), 0.1))


def abstains(p: Floats, fit: Fit) -> NDArray[np.bool_]:
    """[n]: whether the label of probabilities ``p`` [n, 7] is withheld, as edge_mer.fusion.abstention does."""
    large = np.zeros(len(p), np.bool_) if fit.set_limit is None else set_sizes(p, fit.set_limit) > fit.largest_set
    withheld: NDArray[np.bool_] = large | (p.max(1) < fit.floor)
    return withheld


def fit_cautious(given: Predictions, coverage: float, measured: Mapping[Combination, Fit]) -> Fit:
    """Of a combination that nobody recorded jointly: on its windows no surer and no shyer than without the words."""
    data, base = given.emotion, without_words(given.emotion.combination)
    alone = measured[base].scaling.probabilities(base, given.subsets[base].logits)
    scaling = cautious(data, float(alone.max(1).mean()))
    withheld = float(abstains(alone, measured[base]).mean())
    confidence = scaling.probabilities(data.combination, data.logits).max(1)
    return Fit(
        scaling=scaling,
        measured=False,
        samples=len(data),
        groups=len(np.unique(data.groups)),
        coverage=coverage,
        set_limit=None,
        sentiment_radius=None,
        floor=max(FLOOR, float(np.quantile(confidence, withheld, method="lower"))),
    )


def without_words(c: Combination) -> Combination:
    """The measured combination that is left of ``c`` when nobody speaks."""
    return combination_of(set(modalities_of(c)) - {"text"})


def caution(given: Predictions, coverage: float, measured: Mapping[Combination, Fit]) -> dict[Combination, float]:
    """Shares of windows without a label: of a combination that nobody recorded jointly, fitted without the group of
    each window, and of its measured subsets on the same windows."""
    data, withheld = given.emotion, np.zeros(len(given.emotion), np.bool_)
    for fitted, held in data.folds():
        part = replace(given, emotion=data.take(fitted), subsets={s: r.take(fitted) for s, r in given.subsets.items()})
        fit = fit_cautious(part, coverage, measured)
        withheld[held] = abstains(fit.scaling.probabilities(data.combination, data.logits[held]), fit)
    found = {data.combination: float(withheld.mean())}
    for s, rows in given.subsets.items():
        found[s] = float(abstains(measured[s].scaling.probabilities(s, rows.logits), measured[s]).mean())
    return found


def fits(given: Mapping[Combination, Predictions], coverage: float) -> dict[Combination, Fit]:
    """Measured combinations first: the others look at them."""
    measured = {c: fit_measured(p, coverage) for c, p in given.items() if p.measured}
    return {c: measured[c] if p.measured else fit_cautious(p, coverage, measured) for c, p in given.items()}


def judge(given: Predictions, coverage: float, draws: int = DRAWS) -> Judgement:
    """Fit on all groups but those of a fold, judge on these, fold by fold."""
    data = given.emotion
    found = {name: held_out(data, fit, coverage) for name, fit in METHODS.items()}
    raw = softmax(data.logits)
    p, limits = found[method_of(data)]
    confidence, correct = p.max(1), p.argmax(1) == data.labels
    answered = (confidence >= FLOOR) & (set_sizes(p, limits) <= LARGEST_SET)
    inside = covered(p, data.labels, limits)
    return Judgement(
        before=_reliability(raw, data, draws),
        after=_reliability(p, data, draws),
        rivals={n: excess(q.max(1), q.argmax(1) == data.labels, draws=draws) for n, (q, _) in found.items()},
        coverage=float(inside.mean()),
        by_person=np.array([inside[rows].mean() for rows in people_of(data.groups)]),
        interval=binomial_interval(len(data), coverage),
        size=float(set_sizes(p, limits).mean()),
        sentiment_coverage=_interval_coverage(given, coverage),
        answered=float(answered.mean()),
        accuracy=float(correct[answered].mean()) if answered.any() else float("nan"),
        confidence=confidence,
        correct=correct,
    )


def held_out(data: Validation, fit: Method, coverage: float) -> tuple[Floats, Floats]:
    """Probabilities [n, 7] and conformal limits [n] of every sample, fitted without its group."""
    p, limits = np.empty(data.logits.shape), np.empty(len(data))
    for fitted, held in data.folds():
        part = data.take(fitted)
        scaling: Scaling = fit(part)
        p[held] = scaling.probabilities(data.combination, data.logits[held])
        own = scaling.probabilities(data.combination, part.logits)
        limits[held] = set_limit(label_scores(own, part.labels), part.groups, coverage)
    return p, limits


def _reliability(p: Floats, data: Validation, draws: int) -> Reliability:
    return reliability(p.max(1), p.argmax(1) == data.labels, data.groups, draws=draws)


def _interval_coverage(given: Predictions, coverage: float) -> float | None:
    inside = [given.error[held] <= limit(given.error[fitted], coverage) for fitted, held in folds(given.error_groups)]
    return float(np.concatenate(inside).mean()) if inside else None
