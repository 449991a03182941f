"""An emotion is shown once it held, changes no faster than it must hold, and is forgotten when it is gone."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS
from edge_mer.gateway.mqtt.debounce import DebounceSettings, Steady, passed, step

SETTINGS = DebounceSettings(2 * SECOND, 0.5, 10 * SECOND)
HOP_US = SECOND // 2


def shown(*heard: tuple[str | None, float | None], settings: DebounceSettings = SETTINGS) -> list[str | None]:
    """What is shown after each estimate, one every half second."""
    state, found = Steady(), []
    for n, (label, confidence) in enumerate(heard):
        state = step(state, label, confidence, (n + 1) * HOP_US, settings)  # type: ignore[arg-type]
        found.append(state.shown)
    return found


def test_it_must_hold() -> None:
    assert shown(*[("happy", 0.8)] * 6) == [None] * 4 + ["happy"] * 2


def test_one_stray_estimate_changes_nothing() -> None:
    assert shown(*[("happy", 0.8)] * 5, ("sad", 0.9), ("happy", 0.8))[-2:] == ["happy", "happy"]


def test_two_that_alternate_are_neither() -> None:
    assert set(shown(*[("happy", 0.9), ("sad", 0.9)] * 30)) == {None}


def test_too_little_confidence_is_no_emotion() -> None:
    assert set(shown(*[("happy", 0.49)] * 30)) == {None}
    assert set(shown(*[("happy", None)] * 30)) == {None}
    assert shown(*[("happy", 0.5)] * 30)[-1] == "happy"


def test_what_is_not_heard_any_more_is_forgotten() -> None:
    history = shown(*[("happy", 0.8)] * 5, *[(None, None)] * 20)
    assert (history[-2], history[-1]) == ("happy", None)
    state = step(Steady(shown="happy"), "happy", 0.9, SECOND, SETTINGS)
    assert passed(state, 10 * SECOND, SETTINGS).shown == "happy"
    assert passed(state, 11 * SECOND, SETTINGS).shown is None


@given(st.lists(st.tuples(st.none() | st.sampled_from(EMOTIONS), st.floats(0, 1)), max_size=60))
def test_it_never_changes_faster_than_it_must_hold(heard: list[tuple[str | None, float]]) -> None:
    history = shown(*heard)
    names = [h for h, _ in heard]
    turns = [n for n, (a, b) in enumerate(zip([None, *history], history, strict=False)) if a != b and b is not None]
    assert all(b - a >= SETTINGS.hold_us // HOP_US for a, b in pairwise(turns))
    for n in turns:
        assert names[n - 4 : n + 1] == [history[n]] * 5, "it was heard all the time before it is shown"
