"""Exact contributions: they add up, and are exactly 0 for absent modalities; computed on request only."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Modality
from edge_mer.contract.services import SERVICES
from edge_mer.fusion.explain import EMPTY, NEUTRAL, PRIOR, Subset, contributions, explain, subsets_of
from edge_mer.fusion.model import Prediction
from tests.fusion.scene import HashModel, Scene, subsets

ALL: Subset = frozenset(MODALITIES)
games = st.lists(st.floats(-3, 3), min_size=8, max_size=8).map(lambda v: dict(zip(subsets_of(ALL), v, strict=True)))
present_sets = st.sets(st.sampled_from(MODALITIES)).map(frozenset)


def by_every_order(worth: dict[Subset, float], present: Subset, modality: Modality) -> float:
    """The definition: the mean contribution of ``modality`` over all orders of arrival."""
    added = []
    for order in permutations(sorted(present)):
        before = frozenset(order[: order.index(modality)])
        added.append(worth[before | {modality}] - worth[before])
    return sum(added) / len(added)


@given(games, present_sets)
def test_contributions_add_up_to_the_full_value_minus_the_prior(worth: dict[Subset, float], present: Subset) -> None:
    assert sum(contributions(worth, present).values()) == pytest.approx(worth[present] - worth[EMPTY], abs=1e-6)


@given(games, present_sets)
def test_contributions_are_the_mean_over_every_order_of_arrival(worth: dict[Subset, float], present: Subset) -> None:
    shares = contributions(worth, present)
    for modality in present:
        assert shares[modality] == pytest.approx(by_every_order(worth, present, modality), abs=1e-9)


@given(games, present_sets)
def test_absent_modality_contributes_exactly_0(worth: dict[Subset, float], present: Subset) -> None:
    shares = contributions(worth, present)
    assert set(shares) == ALL
    assert all(shares[m] == 0.0 for m in ALL - present)
    poisoned = {s: v if s <= present else float("nan") for s, v in worth.items()}
    assert contributions(poisoned, present) == shares


@given(games)
def test_equal_modalities_contribute_equally_and_a_useless_one_0(worth: dict[Subset, float]) -> None:
    def twin(subset: Subset) -> float:
        return worth[frozenset({"audio"})] * len(subset & {"audio", "video"})

    shares = contributions({s: twin(s) for s in worth}, ALL)
    assert shares["audio"] == pytest.approx(shares["video"])
    assert shares["text"] == pytest.approx(0, abs=1e-12)


def test_missing_subset_is_an_error() -> None:
    with pytest.raises(KeyError):
        contributions({EMPTY: 0.1, frozenset({"audio", "video"}): 0.5}, frozenset({"audio", "video"}))


@pytest.mark.parametrize("present", subsets(), ids=lambda p: "".join(m[0] for m in p) or "none")
def test_estimate_is_explained_by_the_graphs_of_its_subsets(present: tuple[Modality, ...]) -> None:
    scene = Scene()
    scene.settle(*present)
    pending, model = scene.state.pending[-1], HashModel()
    body = explain(pending, model)
    assert body.combination == pending.combination
    if not present:
        assert (body.label, body.sentiment_contributions) == (None, None)
        assert body.contributions == dict.fromkeys(MODALITIES, 0.0)
        return
    assert pending.estimate is not None
    assert pending.prediction is not None
    assert body.label == pending.estimate.label
    place = EMOTIONS.index(body.label)
    gain = pending.prediction.probabilities[place] - PRIOR
    assert sum(body.contributions.values()) == pytest.approx(gain, abs=1e-6)
    assert all(body.contributions[m] == 0.0 for m in MODALITIES if m not in present)
    assert any(body.contributions[m] != 0.0 for m in present)
    if "text" in present:
        assert body.sentiment_contributions is not None
        assert pending.prediction.sentiment is not None
        total = sum(body.sentiment_contributions.values())
        assert total == pytest.approx(pending.prediction.sentiment - NEUTRAL, abs=1e-6)
    else:
        assert body.sentiment_contributions is None, "no labels, no sentiment, nothing to explain"


def test_published_label_is_explained_even_if_this_window_predicts_another() -> None:
    scene = Scene()
    scene.settle("audio")
    pending = scene.state.pending[-1]
    assert pending.prediction is not None
    other = Prediction(tuple(sorted(pending.prediction.probabilities, reverse=True)), None, "no labels")
    assert pending.estimate is not None
    for label in EMOTIONS:
        smoothed: Any = {e: 0.9 if e == label else 0.1 / 6 for e in EMOTIONS}
        entry = replace(
            pending, prediction=other, estimate=msgspec.structs.replace(pending.estimate, probabilities=smoothed)
        )
        body = explain(entry, HashModel())
        assert body.label == label
        assert body.contributions["audio"] == pytest.approx(other.probabilities[EMOTIONS.index(label)] - PRIOR)


class Counting(HashModel):
    """Records which graphs were run."""

    def __init__(self) -> None:
        self.runs: list[Combination] = []

    def predict(self, combination: Combination, windows: Any) -> Prediction:
        self.runs.append(combination)
        assert len(windows) == len(combination)
        return super().predict(combination, windows)


def test_every_proper_subset_runs_once_and_the_full_set_is_reused() -> None:
    scene = Scene()
    scene.settle(*MODALITIES)
    model = Counting()
    explain(scene.state.pending[-1], model)
    assert sorted(model.runs) == sorted(["a", "t", "v", "at", "av", "tv"])


def test_explanations_are_published_on_request_only() -> None:
    assert [row.topic for row in SERVICES.values() if row.on_request] == ["explain"]
