"""An emotion is shown after it held for the hold time, and hidden after it was absent for the forget time."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS
from edge_mer.gateway.mqtt.debounce import DebounceSettings, Steady, passed, step

SETTINGS = DebounceSettings(2 * SECOND, 0.5, 10 * SECOND)
HOP_US = SECOND // 2


def shown(*estimates: tuple[str | None, float | None], settings: DebounceSettings = SETTINGS) -> list[str | None]:
    """The shown emotion after each estimate, one every half second."""
    state, found = Steady(), []
    for n, (label, confidence) in enumerate(estimates):
        state = step(state, label, confidence, (n + 1) * HOP_US, settings)  # type: ignore[arg-type]
        found.append(state.shown)
    return found


def test_emotion_is_shown_after_the_hold_time() -> None:
    assert shown(*[("happy", 0.8)] * 6) == [None] * 4 + ["happy"] * 2


def test_single_other_estimate_changes_nothing() -> None:
    assert shown(*[("happy", 0.8)] * 5, ("sad", 0.9), ("happy", 0.8))[-2:] == ["happy", "happy"]


def test_alternating_emotions_are_not_shown() -> None:
    assert set(shown(*[("happy", 0.9), ("sad", 0.9)] * 30)) == {None}


def test_low_confidence_counts_as_no_emotion() -> None:
    assert set(shown(*[("happy", 0.49)] * 30)) == {None}
    assert set(shown(*[("happy", None)] * 30)) == {None}
    assert shown(*[("happy", 0.5)] * 30)[-1] == "happy"


def test_absent_emotion_is_hidden_after_the_forget_time() -> None:
    history = shown(*[("happy", 0.8)] * 5, *[(None, None)] * 20)
    assert (history[-2], history[-1]) == ("happy", None)
    state = step(Steady(shown="happy"), "happy", 0.9, SECOND, SETTINGS)
    assert passed(state, 10 * SECOND, SETTINGS).shown == "happy"
    assert passed(state, 11 * SECOND, SETTINGS).shown is None


@given(st.lists(st.tuples(st.none() | st.sampled_from(EMOTIONS), st.floats(0, 1)), max_size=60))
def test_shown_emotion_changes_no_faster_than_the_hold_time(estimates: list[tuple[str | None, float]]) -> None:
    history = shown(*estimates)
    names = [h for h, _ in estimates]
    changes = [n for n, (a, b) in enumerate(zip([None, *history], history, strict=False)) if a != b and b is not None]
    assert all(b - a >= SETTINGS.hold_us // HOP_US for a, b in pairwise(changes))
    for n in changes:
        assert names[n - 4 : n + 1] == [history[n]] * 5, "the emotion held throughout before it was shown"
