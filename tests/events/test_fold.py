"""The fold of events: when one begins and ends, what a mask leaves of it, and the anytime bound."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.messages import Estimate
from edge_mer.events.fold import CHANGED, FADED, MASKED, NOTHING, EventState, corrected, cut, initial, step
from edge_mer.events.settings import EventSettings, Rule
from edge_mer.fusion.abstention import LARGE, LOW
from tests.events import scene
from tests.events.scene import ANGRY, CALM, HOP, RATIO, SETTINGS, estimate, fold

shares = st.sampled_from((0.02, 0.3, 0.6, 0.9, 0.99))
estimates = st.builds(
    estimate,
    st.sampled_from((*EMOTIONS, None)),
    shares,
    st.sampled_from(("a", "av", "v", "t", "none")),
    sentiment=st.sampled_from((None, -2.5, 0.0, 2.5)),
)


def test_an_event_begins_with_enough_evidence_and_ends_when_half_of_it_is_lost() -> None:
    _, changes = fold(*[ANGRY] * 4, *[CALM] * 3)
    assert [(c.phase, c.label, c.reason) for c in changes] == [("begin", "angry", None), ("end", "angry", FADED)]
    begin, end = changes
    assert begin.event == end.event
    assert begin.begin_us == 0
    assert begin.evidence >= begin.threshold == 2.0
    assert end.end_us == 5 * HOP


def test_evidence_that_wavers_around_the_threshold_gives_one_event() -> None:
    doubtful = estimate("angry", 0.45)
    _, changes = fold(*[ANGRY] * 4, *[doubtful, ANGRY] * 10)
    assert [c.phase for c in changes] == ["begin"]


def test_an_event_does_not_begin_before_its_minimum_length() -> None:
    slow = msgspec.structs.replace(SETTINGS, minimum_us=3 * SECOND)
    state, changes = fold(*[ANGRY] * 5, settings=slow)
    assert not changes
    _, changes = fold(ANGRY, state=state, settings=slow, tick_us=5 * HOP)
    assert [c.phase for c in changes] == ["begin"]


@pytest.mark.parametrize("reason", ["out of distribution (audio)", "unbound", "too few tokens (video)"])
def test_a_window_that_cannot_be_trusted_is_no_evidence_for_a_label_but_still_against_it(reason: str) -> None:
    void = msgspec.structs.replace(ANGRY, abstain=reason, label=None)
    assert fold(*[void] * 50)[0].evidence == {}
    begun, _ = fold(*[ANGRY] * 4)
    against = msgspec.structs.replace(CALM, abstain=reason, label=None)
    _, changes = fold(*[against] * 2, state=begun, tick_us=4 * HOP)
    assert [c.phase for c in changes] == ["end"]


@pytest.mark.parametrize("reason", [f"{LARGE} (5 labels)", LOW])
def test_an_estimate_that_is_not_sure_counts_as_its_probabilities_say(reason: str) -> None:
    unsure = msgspec.structs.replace(ANGRY, abstain=reason, label=None)
    assert fold(*[unsure] * 4) == fold(*[ANGRY] * 4)


def test_revisions_and_repetitions_change_nothing() -> None:
    state, _ = fold(ANGRY)
    assert step(SETTINGS, state, 2 * HOP, msgspec.structs.replace(ANGRY, revision=1)) == (state, ())
    assert step(SETTINGS, state, HOP, ANGRY) == (state, ())


def test_without_an_estimate_an_event_ends_after_the_gap() -> None:
    _, changes = fold(*[ANGRY] * 4, *[scene.NOTHING] * 4)
    assert (changes[-1].phase, changes[-1].reason, changes[-1].end_us) == ("end", NOTHING, 8 * HOP)


def test_evidence_of_a_combination_whose_event_is_off_begins_nothing() -> None:
    off = msgspec.structs.replace(SETTINGS, rules={"angry": {"av": scene.RULE}})
    assert fold(*[ANGRY] * 30, settings=off)[1] == []


def test_an_event_names_every_combination_that_its_evidence_came_from() -> None:
    both = estimate("angry", combination="av")
    _, changes = fold(ANGRY, both, ANGRY)
    assert changes[0].combinations == ("a", "av")


def test_a_sentiment_extreme_is_an_event_too() -> None:
    bad = estimate("neutral", combination="t", sentiment=-2.9)
    assert [c.label for c in fold(*[bad] * 3)[1]] == ["negative"]


@pytest.mark.parametrize("reason", [MASKED, CHANGED])
def test_a_mask_ends_the_events_of_its_modality_and_leaves_no_evidence(reason: str) -> None:
    state, _ = fold(*[ANGRY] * 4)
    after, ended = cut(state, "audio", 4 * HOP, 7, reason)
    assert after.evidence == {}
    assert [(c.phase, c.reason, c.mask_epoch) for c in ended] == [("end", reason, 7)]


def test_a_mask_of_another_modality_leaves_an_event_alone() -> None:
    state, _ = fold(*[ANGRY] * 4)
    assert cut(state, "video", 4 * HOP, 7) == (state, ())


@given(st.lists(estimates, max_size=12), st.lists(estimates, max_size=12), st.lists(estimates, max_size=20))
def test_what_was_heard_before_a_mask_changes_nothing_after_it(
    one: list[Estimate], other: list[Estimate], after: list[Estimate]
) -> None:
    def masked(before: list[Estimate]) -> EventState:
        state, _ = fold(*before, *[CALM] * (12 - len(before)))
        for modality in ("audio", "video", "text"):
            state, _ = cut(state, modality, 12 * HOP, 1)
        return state

    assert fold(*after, state=masked(one), tick_us=12 * HOP) == fold(*after, state=masked(other), tick_us=12 * HOP)


@given(st.lists(estimates, max_size=40))
def test_the_same_estimates_give_the_same_changes_and_each_event_ends_before_the_next(heard: list[Estimate]) -> None:
    state, changes = fold(*heard)
    assert (state, changes) == fold(*heard)
    opened: dict[str, str] = {}
    for change in changes:
        assert change.begin_us >= 0
        if change.phase == "begin":
            assert change.label not in opened
            opened[change.label] = change.event
        else:
            assert opened.pop(change.label) == change.event
    assert {label: e.event.event for label, e in state.evidence.items() if e.event} == opened


def test_a_correction_raises_the_threshold_of_its_label_and_combination_only() -> None:
    state = corrected(initial(SETTINGS), {"angry/a": 2.0})
    weak = [estimate("angry", 0.9, sentiment=None)] * 3
    assert fold(*weak)[1]
    assert not fold(*weak, state=state)[1]
    assert fold(*[estimate("angry", 0.9, "av")] * 3, state=state)[1]
    assert fold(*weak, state=corrected(state, {}))[1]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_on_test_supermartingales_the_bound_holds(seed: int) -> None:
    """Windows of 8 hops that share no time are independent, and the mean factor of each is 1: in 100 runs of n hops at
    most n / exp(threshold) events begin in the mean, with an allowance of four standard errors."""
    overlap, hops, runs, threshold = 8, 400, 100, math.log(2_000)
    rule = Rule(threshold, 1.0, 1.0)
    bound = EventSettings(HOP, 1 / overlap, 0, SECOND, {"angry": {"a": WIDE}}, {"angry": {"a": rule}})
    random = np.random.default_rng(seed)
    alarms = 0
    for _ in range(runs):
        noise = random.standard_normal(hops + overlap)
        score = np.convolve(noise, np.ones(overlap), "valid") / math.sqrt(overlap)
        nats = 1.5 * score - 1.5**2 / 2  # exp(nats) has mean 1
        state = initial(bound)
        for i, value in enumerate(nats):
            share = 1 / (1 + math.exp(-value))
            state, changes = step(bound, state, (i + 1) * HOP, estimate("angry", share))
            if any(c.phase == "begin" for c in changes):
                alarms += 1
                break
    expected = hops / math.exp(threshold)
    assert alarms / runs <= expected + 4 * math.sqrt(expected * (1 - expected) / runs)


WIDE = msgspec.structs.replace(RATIO, floor=-50.0, cap=50.0)
