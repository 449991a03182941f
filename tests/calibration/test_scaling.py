"""Scaling recovers what was spoiled, per combination, and makes a model that knows nothing say so."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.conformal import label_scores, limit, set_sizes
from calibration.reliability import reliability
from calibration.scaling import METHODS, fit_temperature, fit_vector, judged, negative_log_likelihood
from calibration.validation import CalibrationError, Validation
from edge_mer.contract.errors import InputError
from edge_mer.fusion.confidence import softmax
from tests.calibration.samples import shuffled, validation


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_model_too_sure(sharper: float) -> None:
    fitted = fit_temperature(validation(sharper=sharper))
    assert fitted.scale[0] * sharper == pytest.approx(1, rel=0.1)
    assert set(fitted.bias) == {0.0}
    assert len(set(fitted.scale)) == 1


def test_vector_scaling_finds_a_bias_that_a_temperature_cannot() -> None:
    data = validation(n=3000)
    biased = Validation("av", data.logits + np.array([3, 0, 0, 0, 0, 0, 0]), data.labels, data.groups)
    losses = {n: negative_log_likelihood(judged(biased, fit), biased.labels) for n, fit in METHODS.items()}
    assert losses["vector"] < losses["temperature"] - 0.1
    fitted = fit_vector(biased)
    assert fitted.bias[0] - np.mean(fitted.bias[1:]) == pytest.approx(-3, abs=0.6)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_brings_the_excess_error_down_on_groups_it_was_not_fitted_on(method: str) -> None:
    data = validation(sharper=3)

    def excess(p: np.ndarray) -> float:
        return reliability(p.max(1), p.argmax(1) == data.labels, data.groups, draws=100).excess

    assert excess(softmax(data.logits)) > 0.1
    assert excess(judged(data, METHODS[method])) <= 0.03


@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_shuffled_labels_is_not_called_confident(method: str) -> None:
    data = shuffled()
    before, after = softmax(data.logits), judged(data, METHODS[method])
    assert before.max(1).mean() > 0.8, "it was very sure"
    assert after.max(1).mean() < 0.25
    assert after.max() < 0.4
    found = limit(label_scores(after, data.labels), 0.9)
    assert set_sizes(after, found).mean() > 5, "90 % coverage of chance needs nearly all labels"


def test_each_combination_gets_the_temperature_of_its_own_samples() -> None:
    sharp, flat = fit_temperature(validation(sharper=3, combination="a")), fit_temperature(validation(combination="v"))
    assert (sharp.combination, flat.combination) == ("a", "v")
    assert sharp.scale[0] < 0.5 < flat.scale[0]
    with pytest.raises(InputError, match="each combination has its own"):
        sharp.probabilities("v", np.zeros(7))


def test_every_group_is_judged_once_by_a_fit_that_never_saw_it() -> None:
    data = validation(n=300, groups=13)
    seen = np.zeros(len(data), int)
    for fitted, held in data.folds(most=4):
        assert not set(data.groups[fitted]) & set(data.groups[held])
        assert len(fitted) + len(held) == len(data)
        seen[held] += 1
    assert (seen == 1).all()


def test_the_fit_does_not_depend_on_the_order_of_the_rows() -> None:
    data = validation(n=400)
    turned = data.take(np.arange(400)[::-1])
    assert fit_temperature(turned).scale == pytest.approx(fit_temperature(data).scale, rel=1e-4)


def nan_logits(data: Validation) -> Validation:
    logits = data.logits.copy()
    logits[[3, 9], 2] = np.nan
    return Validation("av", logits, data.labels, data.groups)


BAD = {
    "too few samples": (lambda d: d.take(np.arange(40)), "40 samples, expected at least 100"),
    "a class missing": (lambda d: d.take(np.flatnonzero(d.labels != 4)), r"no sample of fear among \d+ \(neutral \d+"),
    "NaN logits": (nan_logits, "2 of 300 samples hold NaN or Inf, first row 3"),
    "one actor": (lambda d: Validation("av", d.logits, d.labels, np.zeros(300)), "1 group among 300 samples"),
    "a foreign label": (lambda d: Validation("av", d.logits, d.labels + 1, d.groups), "label 7 in row"),
    "six columns": (lambda d: Validation("av", d.logits[:, :6], d.labels, d.groups), r"\(300, 6\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_predictions_are_refused_with_figures(case: str) -> None:
    spoil, said = BAD[case]
    with pytest.raises(CalibrationError, match=said) as caught:
        spoil(validation(n=300))
    assert "'av'" in str(caught.value), "the combination is named"


def test_four_people_who_disagree_leave_the_temperature_at_one() -> None:
    """Two need twice the sharpness and two half of it: no model is made surer by whom it happened to meet."""
    data = validation(n=480, groups=4)
    sharper = np.where(data.groups % 2, 2.0, 0.5)[:, None]
    divided = Validation("av", data.logits * sharper, data.labels, data.groups)
    assert fit_temperature(divided).scale[0] == pytest.approx(1, abs=0.1)
    agreed = Validation("av", data.logits * 3, data.labels, data.groups)
    assert fit_temperature(agreed).scale[0] == pytest.approx(1 / 3, rel=0.2)
