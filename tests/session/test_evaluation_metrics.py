"""Metrics against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_mer.session import evaluation_metrics as metrics

TRUTH, GUESS = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
TABLE = metrics.confusion(TRUTH, GUESS, 4)


def test_rows_are_truth_and_columns_are_predictions() -> None:
    assert TABLE.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_accuracy_and_recall() -> None:
    assert metrics.accuracy(TABLE) == pytest.approx(4 / 6)
    assert metrics.uar(TABLE) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert np.isnan(metrics.recalls(TABLE)[3])


def test_f1_by_class_mean_and_weighted() -> None:
    assert metrics.f1_scores(TABLE) == pytest.approx([2 / 3, 4 / 5, 0, 0])
    assert metrics.macro_f1(TABLE) == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert metrics.weighted_f1(TABLE) == pytest.approx((3 * 2 / 3 + 2 * 4 / 5) / 6)


def test_empty_input_scores_zero_not_nan() -> None:
    empty = metrics.confusion(np.array([], int), np.array([], int), 7)
    assert [f(empty) for f in (metrics.accuracy, metrics.uar, metrics.macro_f1, metrics.weighted_f1)] == [0] * 4


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        metrics.confusion(np.zeros(2, int), np.zeros(3, int), 7)


def test_continuous_figures() -> None:
    truth, guess = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 4.0])
    assert metrics.mae(truth, guess) == pytest.approx(2 / 3)
    assert metrics.correlation(truth, 2 * truth) == pytest.approx(1)
    assert metrics.correlation(truth, np.ones(3)) == 0


def test_acc2_with_and_without_zeros_and_acc7() -> None:
    truth, guess = np.array([0.0, -1.0, 2.0, -3.0]), np.array([-0.1, -0.6, 1.6, 0.4])
    assert metrics.accuracy_2(truth, guess) == pytest.approx(2 / 4)
    assert metrics.accuracy_2(truth, guess, zero_is_positive=False) == pytest.approx(2 / 3)
    assert metrics.accuracy_7(truth, guess) == pytest.approx(3 / 4)
    assert metrics.accuracy_7(np.array([3.0]), np.array([9.0])) == 1


def test_paired_difference_distinguishes_noise_from_gain() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    one, other = random.random(200) < 0.6, random.random(200) < 0.6
    better = one | (random.random(200) < 0.5)

    def difference(a: np.ndarray, b: np.ndarray) -> metrics.Interval:
        return metrics.paired_bootstrap(lambda i: float(a[i].mean() - b[i].mean()), groups, 400)

    assert difference(one, one) == metrics.Interval(0, 0, 0, 1)
    assert difference(one, other).low < 0 < difference(one, other).high
    gain = difference(better, one)
    assert 0 < gain.low <= gain.difference <= gain.high
    assert gain.p < 0.05


def test_the_bootstrap_draws_whole_groups() -> None:
    groups = np.array(["a", "a", "b", "b", "b", "c"])
    sizes = {len(g) for g in ("aa", "bbb", "c")}
    drawn: list[np.ndarray] = []
    metrics.paired_bootstrap(lambda i: float(drawn.append(i) is None), groups, 30)
    for index in drawn[:-1]:
        counts = np.bincount(index, minlength=6)
        assert all(len({*counts[groups == g]}) == 1 for g in "abc")
        assert sum(counts[np.unique(groups, return_index=True)[1]]) == 3
    assert sizes == {1, 2, 3}
    with pytest.raises(ValueError, match="empty"):
        metrics.paired_bootstrap(lambda i: 0.0, np.zeros(0))
