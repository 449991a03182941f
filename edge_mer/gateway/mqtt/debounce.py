"""Debounced emotion for automations: an emotion is shown after it held for some time. One pure fold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_mer.contract.domain import Emotion


@dataclass(frozen=True, slots=True)
class DebounceSettings:
    """``hold_us``: how long a new emotion must last. ``forget_us``: after this time without it, none is shown."""

    hold_us: int
    min_confidence: float
    forget_us: int


@dataclass(frozen=True, slots=True)
class Steady:
    """``shown`` is the result. ``candidate`` may replace it and has lasted since ``since_us``."""

    shown: Emotion | None = None
    candidate: Emotion | None = None
    since_us: int = 0
    confirmed_us: int = 0


def step(
    state: Steady, label: Emotion | None, confidence: float | None, at_us: int, settings: DebounceSettings
) -> Steady:
    """Fold one estimate. An abstention, or too little confidence, counts as no emotion."""
    current = label if confidence is not None and confidence >= settings.min_confidence else None
    if current is None:
        return passed(replace(state, candidate=None), at_us, settings)
    since = state.since_us if current == state.candidate else at_us
    shown = current if current == state.shown or at_us - since >= settings.hold_us else state.shown
    # Only the same emotion confirms the shown one: of two that alternate, neither is shown.
    confirmed = at_us if current == shown else state.confirmed_us
    return passed(Steady(shown, current, since, confirmed), at_us, settings)


def passed(state: Steady, at_us: int, settings: DebounceSettings) -> Steady:
    """Advance the time: an emotion that was not confirmed for ``forget_us`` is no longer shown."""
    if state.shown is not None and at_us - state.confirmed_us >= settings.forget_us:
        return replace(state, shown=None)
    return state
