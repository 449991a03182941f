"""Temperature and vector scaling (Guo et al. 2017), each fitted on one combination by its negative log-likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize, minimize_scalar

from calibration.validation import CalibrationError, Validation, people_of
from edge_mer.contract.domain import EMOTIONS
from edge_mer.fusion.confidence import Scaling, softmax

CLASSES: Final = len(EMOTIONS)
# 1 / T lies in this range: 0 for logits that say nothing, the end where no sample is ever wrong.
SHARPEST: Final = 20.0
FLATTEST: Final = 1e-6
# Vector scaling departs from the temperature under a Gaussian prior of this deviation: 14 free numbers on 240 clips
# would learn the clips, and thousands of samples outweigh the prior.
DEVIATION: Final = 0.5


def negative_log_likelihood(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the samples, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())


def fit_temperature(data: Validation) -> Scaling:
    """One temperature, moved towards 1 by how far the persons disagree on it (James and Stein 1961): what four actors
    differ in is no property of the model."""
    pooled = _log_scale(data.logits, data.labels)
    own = [_log_scale(data.logits[rows], data.labels[rows]) for rows in people_of(data.groups)]
    kept = 1.0
    if len(own) > 1 and pooled:
        kept = max(0.0, 1 - float(np.var(own, ddof=1)) / len(own) / pooled**2)
    return Scaling(data.combination, (float(np.exp(kept * pooled)),) * CLASSES, (0.0,) * CLASSES)


def _log_scale(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """ln(1 / T); the likelihood is concave in 1 / T, so that the bounded search finds the one best."""
    values = logits.astype(np.float64)

    def loss(scale: float) -> float:
        return negative_log_likelihood(softmax(scale * values), labels)

    found = minimize_scalar(loss, bounds=(0, SHARPEST), method="bounded", options={"xatol": 1e-6})
    return float(np.log(max(found.x, FLATTEST)))


def fit_vector(data: Validation) -> Scaling:
    """A scale >= 0 and a bias per label, from the temperature on; convex too."""
    logits, truth = data.logits.astype(np.float64), np.eye(CLASSES)[data.labels]
    pull = 1 / (2 * DEVIATION**2 * len(data))
    start = np.array([*fit_temperature(data).scale, *np.zeros(CLASSES)])

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        p, away = softmax(values[:CLASSES] * logits + values[CLASSES:]), values - start
        slope = (p - truth) / len(data)
        gradient = np.concatenate([(slope * logits).sum(0), slope.sum(0)]) + 2 * pull * away
        return negative_log_likelihood(p, data.labels) + pull * float(away @ away), gradient

    bounds = [(0, SHARPEST)] * CLASSES + [(None, None)] * CLASSES
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return Scaling(data.combination, tuple(found[:CLASSES].tolist()), tuple(found[CLASSES:].tolist()))


def cautious(data: Validation, most: float) -> Scaling:
    """A temperature, never sharper than its own fit, under which the mean confidence on ``data`` is at most ``most``.

    For a combination that nobody recorded jointly: its label-paired windows agree by construction, so that its own fit
    would be too sure. ``most`` comes from the measured subsets of it on the same windows; its logits stay its own.
    """
    own = fit_temperature(data)
    logits, sharpest = data.logits.astype(np.float64), own.scale[0]

    def over(scale: float) -> float:
        return float(softmax(scale * logits).max(1).mean()) - most

    if not 1 / CLASSES <= most <= 1:
        raise CalibrationError(
            f"calibration of {data.combination!r}: mean confidence of at most {most}, expected 1/{CLASSES} to 1"
        )
    if over(sharpest) <= 0:
        return own
    return Scaling(data.combination, (float(brentq(over, 0.0, sharpest)),) * CLASSES, (0.0,) * CLASSES)


METHODS: Final[Mapping[str, Callable[[Validation], Scaling]]] = {"temperature": fit_temperature, "vector": fit_vector}


def judged(data: Validation, fit: Callable[[Validation], Scaling]) -> NDArray[np.float64]:
    """Probabilities [n, 7] of every sample by a scaling that was fitted without its group."""
    out = np.empty(data.logits.shape, np.float64)
    for fitted, held in data.folds():
        out[held] = fit(data.take(fitted)).probabilities(data.combination, data.logits[held])
    return out
