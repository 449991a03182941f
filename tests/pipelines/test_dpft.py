"""DPFT: ratios that follow separability (T5), on validation data only (T6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, Combination
from edge_mer.contract.errors import ConfigError
from edge_mer.model import MCULoRA
from pipelines.data.holdout_guard import Splits, TestSplitTouched
from pipelines.fusion import dpft as dpft_module
from pipelines.fusion.dpft import Dpft, DpftSettings, Separability, draw, ratios
from tests.model.scene import CONFIG, Windows, active_model, index, windows

SIGMA = st.lists(st.floats(0, 0.69), min_size=7, max_size=7)
Rule = Callable[[NDArray[np.float64], DpftSettings], NDArray[np.float64]]


def follows(rule: Rule, sigma: Sequence[float], floor: float = 0.3) -> bool:
    """T5 of the ratios themselves: a distribution with a floor, most to the least separable."""
    s = np.array(sigma)
    q = rule(s, DpftSettings(floor=floor))
    fair = abs(q.sum() - 1) <= 1e-6 and q.min() >= floor / len(q) - 1e-12
    return fair and bool(q[s.argmin()] >= q.max() - 1e-12)


@given(SIGMA, st.floats(0.05, 1.0))
def test_t5_a_distribution_with_a_floor_that_favours_the_least_separable(sigma: list[float], floor: float) -> None:
    assert follows(ratios, sigma, floor)


@given(SIGMA, st.permutations(range(7)))
def test_t5_permuting_combinations_permutes_the_ratios(sigma: list[float], order: list[int]) -> None:
    s, settings = np.array(sigma), DpftSettings()
    assert np.allclose(ratios(s[order], settings), ratios(s, settings)[order], atol=1e-9)


MUTANTS: dict[str, Rule] = {
    "the wrong way round": lambda s, k: ratios(-s, k),
    "no floor": lambda s, k: np.exp(-10 * s) / np.exp(-10 * s).sum(),
    "not normalised": lambda s, k: ratios(s, k) * 1.1,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_t5_wrong_ratios_are_detected(name: str) -> None:
    assert not follows(MUTANTS[name], [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65])


@pytest.mark.parametrize("have", [COMBINATIONS, ("a", "v", "av"), ("t",)])
def test_t5_only_combinations_of_the_set_have_a_share(have: tuple[Combination, ...]) -> None:
    dpft = Dpft(have)
    for epoch in range(5):
        dpft.update({c: 0.1 * (i + epoch) / 2 for i, c in enumerate(have)})
        assert dpft.shares.sum() == pytest.approx(1, abs=1e-6)
        for c, share in zip(COMBINATIONS, dpft.shares, strict=True):
            assert share >= 0.3 / len(have) - 1e-9 if c in have else share == 0


def test_t5_the_sampler_draws_what_the_ratios_say_and_never_the_empty_set() -> None:
    dpft = Dpft()
    dpft.update(dict(zip(COMBINATIONS, np.linspace(0.05, 0.6, 7), strict=True)))
    drawn = draw(dpft.shares, 10_000, np.random.default_rng(0))
    assert drawn.min() >= 0
    assert drawn.max() <= 6
    expected = 10_000 * dpft.shares
    chi_squared = ((np.bincount(drawn, minlength=7) - expected) ** 2 / expected).sum()
    assert chi_squared < 22.5  # 0.999 quantile at 6 degrees of freedom
    even = ((np.bincount(drawn, minlength=7) - 10_000 / 7) ** 2 / (10_000 / 7)).sum()
    assert even > 22.5


def test_equal_separability_leaves_even_ratios() -> None:
    dpft = Dpft()
    dpft.update(dict.fromkeys(COMBINATIONS, 0.2))
    assert np.allclose(dpft.shares, 1 / 7)


def test_smoothing_keeps_one_epoch_from_turning_the_ratios_over() -> None:
    dpft, extreme = Dpft(), dict(zip(COMBINATIONS, [0.0] + [0.6] * 6, strict=True))
    dpft.update(extreme)
    once = dpft.shares[0]
    for _ in range(20):
        dpft.update(extreme)
    goal = ratios(np.array(list(extreme.values())), DpftSettings())[0]
    assert 1 / 7 < once < 1 / 7 + 0.31 * (goal - 1 / 7)
    assert dpft.shares[0] == pytest.approx(goal, abs=1e-3)


def test_a_resumed_run_goes_on_alike() -> None:
    one, other = Dpft(("a", "t", "at")), Dpft(("a", "t", "at"))
    one.update({"a": 0.1, "t": 0.3, "at": 0.5})
    other.restore(one.state())
    for dpft in (one, other):
        dpft.update({"a": 0.4, "t": 0.1, "at": 0.2})
    assert np.array_equal(one.shares, other.shares)


@pytest.mark.parametrize(
    ("sigma", "says"), [({"a": 0.1}, "for a, v"), ({"a": 0.1, "v": 0.8}, "ln 2"), ({"a": 0.1, "v": np.nan}, "number")]
)
def test_a_bad_sigma_is_refused(sigma: dict[Combination, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Dpft(("a", "v")).update(sigma)


@pytest.mark.parametrize("wrong", [{"floor": 0}, {"temperature": 0}, {"memory": 1}, {"smoothing": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        DpftSettings(**wrong)


def measured(model: MCULoRA, splits: Splits[Windows], name: str = "dev") -> dict[Combination, float]:
    separable = Separability()
    with torch.no_grad():
        for c in COMBINATIONS:
            separable.add(model(splits[name], index(c, 4)), index(c, 4))
    return separable.sigma()


def three_way() -> Splits[Windows]:
    return Splits({name: windows(4, seed) for seed, name in enumerate(("train", "dev", "test"))})


def test_sigma_is_0_at_the_start_and_grows_when_adapters_differ() -> None:
    fresh = measured(MCULoRA(CONFIG).eval(), three_way())
    assert fresh == pytest.approx(dict.fromkeys(COMBINATIONS, 0.0), abs=1e-7)
    lively = measured(active_model(), three_way())
    assert all(0 < s <= dpft_module.LN2 for s in lively.values())
    Dpft().update(lively)


def test_t6_dpft_on_the_test_split_raises() -> None:
    with pytest.raises(TestSplitTouched):
        measured(active_model(), three_way(), "test")


def test_a_model_without_adapters_has_no_sigma() -> None:
    assert measured(active_model(type(CONFIG)(width=32, heads=2, adapters=False)), three_way()) == {}
