"""What an automation may act on: an emotion that held, so that a lamp does not flicker. One pure fold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_mer.contract.domain import Emotion


@dataclass(frozen=True, slots=True)
class DebounceSettings:
    """``hold_us``: how long a new emotion must last; ``forget_us``: after how long without any none is shown."""

    hold_us: int
    min_confidence: float
    forget_us: int


@dataclass(frozen=True, slots=True)
class Steady:
    """``shown`` is the answer; ``candidate`` would follow it, and has lasted since ``since_us``."""

    shown: Emotion | None = None
    candidate: Emotion | None = None
    since_us: int = 0
    heard_us: int = 0


def step(
    state: Steady, label: Emotion | None, confidence: float | None, at_us: int, settings: DebounceSettings
) -> Steady:
    """Fold one estimate. An abstention, or too little confidence, counts as no emotion."""
    heard = label if confidence is not None and confidence >= settings.min_confidence else None
    if heard is None:
        return passed(replace(state, candidate=None), at_us, settings)
    since = state.since_us if heard == state.candidate else at_us
    shown = heard if heard == state.shown or at_us - since >= settings.hold_us else state.shown
    # What is shown is confirmed only by itself: two that alternate are neither.
    confirmed = at_us if heard == shown else state.heard_us
    return passed(Steady(shown, heard, since, confirmed), at_us, settings)


def passed(state: Steady, at_us: int, settings: DebounceSettings) -> Steady:
    """Let time pass: what has not been heard for ``forget_us`` is shown no more."""
    if state.shown is not None and at_us - state.heard_us >= settings.forget_us:
        return replace(state, shown=None)
    return state
