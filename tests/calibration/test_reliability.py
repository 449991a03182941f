"""ECE beside what a perfect model of the same size would show, and what answering less often buys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.reliability import bins, null_errors, reliability, risk_coverage
from calibration.validation import CalibrationError


def perfect(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng([seed, 77])  # not the stream that the null draws from
    confidence = random.uniform(0.2, 1, n)
    return confidence, random.random(n) < confidence, np.arange(n) % 20


def test_fifteen_bins_of_a_perfect_model_show_seven_points_at_240() -> None:
    confidence, _, _ = perfect(240)
    assert null_errors(confidence, draws=300).mean() == pytest.approx(0.08, abs=0.015)
    assert null_errors(perfect(20_000)[0], draws=50).mean() < 0.015


def test_a_perfect_model_has_no_excess_and_lies_below_its_null_high() -> None:
    judged = [reliability(*perfect(240, seed), draws=200, seed=seed) for seed in range(20)]
    assert np.mean([j.excess for j in judged]) == pytest.approx(0, abs=0.01)
    assert sum(j.ece <= j.null_high for j in judged) >= 17
    assert all(j.low <= j.ece + 0.02 and j.low < j.high for j in judged)


def test_too_much_confidence_is_an_excess() -> None:
    confidence, correct, groups = perfect(2000)
    found = reliability(np.minimum(confidence + 0.15, 1), correct, groups, draws=200)
    assert found.excess > 0.08
    assert found.low > found.null_high


def test_every_bin_holds_the_same_number() -> None:
    counts = bins(*perfect(1500)[:2]).count
    assert counts.tolist() == [100] * 15


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60), st.randoms())
def test_the_order_of_the_samples_does_not_matter(rows: list[tuple[float, bool]], random: object) -> None:
    def error(some: list[tuple[float, bool]]) -> tuple[float, float]:
        confidence, correct = (np.array(x) for x in zip(*some, strict=True))
        return bins(confidence, correct).error, risk_coverage(confidence, correct).area

    turned = list(rows)
    random.shuffle(turned)  # type: ignore[attr-defined]
    assert error(turned) == pytest.approx(error(rows))
    assert 0 <= error(rows)[0] <= 1


def test_one_confidence_for_all_is_one_bin() -> None:
    found = bins(np.full(10, 0.7), np.arange(10) < 4)
    assert found.count.tolist() == [10]
    assert found.error == pytest.approx(0.3)


def test_whole_groups_are_resampled() -> None:
    """Actors that are all right or all wrong make the interval wide; rows taken one by one would not."""
    confidence = np.full(400, 0.5)
    correct = np.arange(400) % 8 < 4
    by_actor = reliability(confidence, correct, np.arange(400) % 8, draws=300)
    by_row = reliability(confidence, correct, np.arange(400), draws=300)
    assert by_actor.high > 3 * by_row.high


def test_risk_falls_where_confidence_knows_better() -> None:
    confidence, correct, _ = perfect(5000)
    curve = risk_coverage(confidence, correct)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())
    assert curve.risk[np.searchsorted(curve.coverage, 0.2)] < 0.15 < curve.risk[-1]
    useless = risk_coverage(np.random.default_rng(1).random(5000), correct)
    assert curve.area < useless.area - 0.1


def test_a_confidence_is_a_share_and_there_is_one_per_sample() -> None:
    with pytest.raises(CalibrationError, match=r"confidence 1\.5 in row 1 \(1 of 2 such\)"):
        bins(np.array([0.5, 1.5]), np.array([True, False]))
    with pytest.raises(CalibrationError, match=r"\(2,\), correct \(3,\)"):
        bins(np.full(2, 0.5), np.ones(3, bool))
    with pytest.raises(CalibrationError, match="n >= 1"):
        risk_coverage(np.zeros(0), np.zeros(0, bool))
