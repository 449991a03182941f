"""Sets and intervals hold the truth as often as they state, and too little data is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.conformal import binomial_interval, covered, label_scores, limit, set_sizes
from calibration.validation import CalibrationError
from edge_mer.contract.domain import EMOTIONS
from edge_mer.fusion.confidence import prediction_set, softmax
from tests.calibration.samples import honest_logits


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("sharper", [1.0, 4.0])
def test_sets_cover_as_stated_even_where_the_model_is_too_sure(coverage: float, sharper: float) -> None:
    logits, labels = honest_logits(6000)
    p = softmax(logits * sharper)
    found = limit(label_scores(p[:3000], labels[:3000]), coverage)
    low, high = binomial_interval(3000, coverage, 0.999)
    share = covered(p[3000:], labels[3000:], found).mean()
    assert low - 0.01 <= share <= high + 0.01  # the limit itself was drawn from 3000
    assert set_sizes(p[3000:], found).mean() < 6


def test_coverage_holds_on_average_however_small_the_sample() -> None:
    random, shares = np.random.default_rng(0), []
    for _ in range(4000):
        scores = random.random(20)
        shares.append(random.random() <= limit(scores[:19], 0.9))
    assert np.mean(shares) == pytest.approx(0.9, abs=0.015)


@given(st.lists(st.floats(0, 1), min_size=9, max_size=60), st.floats(0.1, 0.9))
def test_the_limit_is_the_conformal_rank_of_the_scores(scores: list[float], coverage: float) -> None:
    values = np.array(scores)
    found = limit(values, coverage)
    assert found in scores
    assert (values <= found).sum() >= (len(scores) + 1) * coverage - 1e-9
    assert (values < found).sum() < (len(scores) + 1) * coverage


def test_too_little_for_the_coverage_is_refused_with_figures() -> None:
    with pytest.raises(CalibrationError, match=r"8 samples are too few for a coverage of 0\.9; expected at least 9"):
        limit(np.arange(8.0), 0.9)
    assert limit(np.arange(9.0), 0.9) == 8


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5])
def test_a_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(CalibrationError, match="expected between 0 and 1"):
        limit(np.arange(100.0), coverage)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(CalibrationError, match="1 of 3 conformal scores"):
        limit(np.array([0.1, np.nan, 0.2]), 0.5)


def test_the_arrays_and_the_device_build_the_same_sets() -> None:
    logits, labels = honest_logits(200)
    p = softmax(logits)
    for q in (0.0, 0.3, 0.7, 0.95):
        sets = [prediction_set(row, q) for row in p]
        assert [len(s) for s in sets] == set_sizes(p, q).tolist()
        inside = [EMOTIONS[k] in s for s, k in zip(sets, labels, strict=True)]
        assert inside == covered(p, labels, q).tolist()


def test_an_interval_for_sentiment_is_the_same_limit_over_absolute_errors() -> None:
    random = np.random.default_rng(1)
    errors = np.abs(random.normal(size=4000))
    radius = limit(errors[:2000], 0.9)
    assert (errors[2000:] <= radius).mean() == pytest.approx(0.9, abs=0.025)
