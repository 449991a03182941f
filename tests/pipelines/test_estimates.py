"""Patterns of missing modalities, and the figures under them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_mer.contract.domain import COMBINATIONS, modalities_of
from pipelines.data import feature_sets as sets
from pipelines.data.feature_specs import FEATURE_SPECS, FeatureSpec, layout_of
from pipelines.fusion import estimates
from pipelines.fusion.estimates import Predictions
from tests.pipelines.feature_files import write


@pytest.mark.parametrize("rate", estimates.RATES)
@pytest.mark.parametrize("layout", FEATURE_SPECS.values(), ids=FEATURE_SPECS)
def test_the_rate_is_met_and_every_row_keeps_something(layout: FeatureSpec, rate: float) -> None:
    pattern = estimates.random_patterns(layout, rate, 500)
    kept = np.array([len(modalities_of(COMBINATIONS[i])) for i in pattern])
    missing = 1 - kept.sum() / (500 * len(layout.arrays))
    assert kept.min() >= 1
    assert set(pattern) <= {COMBINATIONS.index(c) for c in layout.combinations}
    assert missing == pytest.approx(min(rate, 1 - 1 / len(layout.arrays)), abs=0.005)
    assert np.array_equal(pattern, estimates.random_patterns(layout, rate, 500))


def test_a_perfect_answer_has_perfect_figures(tmp_path: Path) -> None:
    rows = sets.read("mosi", write(tmp_path, "mosi"))
    index = np.arange(len(rows))

    def oracle(pattern: np.ndarray) -> Predictions:
        return Predictions(np.zeros((len(pattern), 0), np.float32), rows.score)

    answers = estimates.answers(rows.layout, oracle, len(rows))
    assert set(answers.sentiment) == {*COMBINATIONS, *map(str, estimates.RATES)}
    figures = estimates.figures(rows, index, answers.emotion["a"], answers.sentiment["a"])
    assert figures["mae"] == 0
    assert figures["corr"] == pytest.approx(1)
    assert [figures[k] for k in ("sentiment_accuracy", "sentiment_wf1", "acc2_non0", "acc7")] == [1] * 4
    assert estimates.quality(rows, index, oracle) == pytest.approx(1)


def test_a_set_with_two_tasks_has_figures_of_both(tmp_path: Path) -> None:
    rows = sets.read("meld", write(tmp_path, "meld"))
    index = np.arange(len(rows))
    figures = estimates.figures(rows, index, rows.emotion, -rows.ordinal.astype(np.float32))
    assert figures["emotion_ua"] == 1
    assert figures["sentiment_accuracy"] == pytest.approx((rows.ordinal == 0).mean())


def test_a_task_that_was_not_answered_has_no_figures(tmp_path: Path) -> None:
    rows = sets.read("meld", write(tmp_path, "meld"))
    nothing = np.full(len(rows), np.nan, np.float32)
    assert not any("sentiment" in k for k in estimates.figures(rows, np.arange(len(rows)), rows.emotion, nothing))
    assert layout_of("meld").sentiment == "ordinal"
