"""Applying a fitted calibration: for its own combination only, never an empty prediction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination
from edge_mer.contract.errors import InputError, ModelError
from edge_mer.fusion.confidence import Scaling, prediction_set, softmax, temperature

logits_of_one = arrays.arrays(np.float64, 7, elements=st.floats(-50, 50))


@pytest.mark.parametrize("own", COMBINATIONS)
@pytest.mark.parametrize("other", COMBINATIONS)
def test_one_combinations_temperature_is_never_used_for_another(own: Combination, other: Combination) -> None:
    scaling = temperature(own, 2.0)
    if own == other:
        assert scaling.probabilities(other, np.zeros(7)) == pytest.approx(np.full(7, 1 / 7))
    else:
        with pytest.raises(InputError, match=f"calibration of '{own}' was given logits of '{other}'"):
            scaling.probabilities(other, np.zeros(7))


@given(logits_of_one, st.floats(0.2, 20))
def test_a_temperature_keeps_the_order_of_the_labels(logits: np.ndarray, value: float) -> None:
    scaled = temperature("a", value).probabilities("a", logits)
    assert scaled.sum() == pytest.approx(1)
    assert scaled[logits.argmax()] == scaled.max()
    hot, cold = (temperature("a", t).probabilities("a", logits).max() for t in (value * 2, value))
    assert hot <= cold + 1e-12


def test_infinite_temperature_gives_equal_probabilities() -> None:
    assert temperature("t", float("inf")).probabilities("t", np.arange(7.0)) == pytest.approx(np.full(7, 1 / 7))


def test_vector_scaling_is_per_label() -> None:
    scaling = Scaling("v", (1, 1, 1, 1, 1, 1, 2), (0, 0.5, 0, 0, 0, 0, 0))
    logits = np.array([0, 1, 0, 0, 0, 0, 1.0])
    assert scaling.probabilities("v", logits) == pytest.approx(softmax([0, 1.5, 0, 0, 0, 0, 2]))


@pytest.mark.parametrize(
    ("scale", "bias", "error"),
    [
        ((1.0,) * 6, (0.0,) * 7, "6 scales and 7 biases"),
        ((float("nan"),) + (1.0,) * 6, (0.0,) * 7, "finite"),
        ((-1.0,) + (1.0,) * 6, (0.0,) * 7, "scale >= 0"),
        ((1.0,) * 7, (float("inf"),) * 7, "finite"),
    ],
)
def test_invalid_scaling_is_refused(scale: tuple[float, ...], bias: tuple[float, ...], error: str) -> None:
    with pytest.raises(ModelError, match=error):
        Scaling("a", scale, bias)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_temperature_is_above_zero(value: float) -> None:
    with pytest.raises(ModelError, match="expected > 0"):
        temperature("a", value)


@given(logits_of_one, st.floats(0, 1), st.floats(0, 1))
def test_sets_hold_the_top_label_and_grow_with_the_limit(logits: np.ndarray, a: float, b: float) -> None:
    p = softmax(logits)
    small, large = (prediction_set(p, limit) for limit in sorted((a, b)))
    assert small[0] == EMOTIONS[int(p.argmax())]
    assert large[: len(small)] == small
    assert all(1 - p[EMOTIONS.index(e)] <= max(a, b) for e in large[1:])
