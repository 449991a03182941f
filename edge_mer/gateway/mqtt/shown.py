"""What Home Assistant is shown of the estimates, and how often it may change. One pure fold.

Home Assistant writes a row for every change of state of an entity, so each has a limit. The emotion changes as soon as
it is steady, within a budget of changes; beyond that it is unknown until it may change again, never an old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Emotion, Modality
from edge_mer.contract.messages import Estimate
from edge_mer.gateway.mqtt import debounce
from edge_mer.gateway.mqtt.debounce import DebounceSettings, Steady

# Changes of the emotion: so many at once, and one more each time.
CHANGES, CHANGE_US = 200, 120 * SECOND
# Least time between changes of the others.
SENTIMENT_US, WHY_US, DIAGNOSTIC_US = 90 * SECOND, 600 * SECOND, 60 * SECOND
AVERAGE_US = 5 * SECOND
NOT_STEADY, TOO_OFTEN, NOT_CONFIDENT = "not steady yet", "it changes too often", "below mqtt.min_confidence"
NO_ESTIMATE, KNOWN = "no estimate", "an emotion is given"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """``confidence`` in percent, of the shown emotion only."""

    confidence: int | None = None
    latency_ms: float | None = None
    present: Mapping[Modality, bool] = field(default_factory=lambda: dict.fromkeys(MODALITIES, False))


@dataclass(frozen=True, slots=True)
class Shown:
    """``emotion``, ``sentiment``, ``why`` (no emotion is given) and ``diagnostic`` are shown; the rest is their state.

    ``left``: changes of the emotion that are still allowed, as of ``left_us``. The other times are of the last change.
    """

    emotion: Emotion | None = None
    sentiment: float | None = None
    why: str = NO_ESTIMATE
    diagnostic: Diagnostic = Diagnostic()
    steady: Steady = field(default_factory=Steady)
    left: float = CHANGES
    left_us: int = 0
    mean: float | None = None
    mean_us: int = 0
    sentiment_us: int | None = None
    why_us: int | None = None
    diagnostic_us: int | None = None


def step(state: Shown, estimate: Estimate, at_us: int, settings: DebounceSettings) -> Shown:
    """Fold the first estimate of a window that ended at ``at_us``."""
    steady = debounce.step(state.steady, estimate.label, estimate.confidence, at_us, settings)
    state = _emotion(replace(state, steady=steady, **_mean(state, estimate.sentiment, at_us)), at_us)
    shown = state.emotion
    if shown is not None:
        why = KNOWN
    elif steady.shown is not None:
        why = TOO_OFTEN
    elif estimate.abstain is not None:
        why = estimate.abstain
    elif steady.candidate is None:
        why = NOT_CONFIDENT
    else:
        why = NOT_STEADY
    if (why == KNOWN) != (state.why == KNOWN) or (why != state.why and _is_due(state.why_us, at_us, WHY_US)):
        state = replace(state, why=why, why_us=at_us)
    sentiment = None if state.mean is None else round(state.mean, 1) + 0.0  # no -0.0
    if sentiment != state.sentiment and _is_due(state.sentiment_us, at_us, SENTIMENT_US):
        state = replace(state, sentiment=sentiment, sentiment_us=at_us)
    if _is_due(state.diagnostic_us, at_us, DIAGNOSTIC_US):
        state = replace(state, diagnostic=_diagnostic(shown, estimate), diagnostic_us=at_us)
    return state


def passed(state: Shown, at_us: int, settings: DebounceSettings) -> Shown:
    """Advance the time without an estimate."""
    steady = debounce.passed(state.steady, at_us, settings)
    if steady is state.steady:
        return state
    return replace(state, steady=steady, emotion=None, why=NO_ESTIMATE, why_us=at_us)


def forgotten(state: Shown) -> Shown:
    """Nothing that was derived from a person; what was used up of the limits stays."""
    return Shown(left=state.left, left_us=state.left_us, sentiment_us=state.sentiment_us, why_us=state.why_us)


def _emotion(state: Shown, at_us: int) -> Shown:
    left = min(CHANGES, state.left + max(0, at_us - state.left_us) / CHANGE_US)
    state = replace(state, left=left, left_us=max(at_us, state.left_us))
    wanted = state.steady.shown
    if wanted == state.emotion:
        return state
    if wanted is None or left < 1:
        return replace(state, emotion=None)
    return replace(state, emotion=wanted, left=left - 1)


def _mean(state: Shown, sentiment: float | None, at_us: int) -> dict[str, Any]:
    """The exponential average of the sentiment; none without one for its time constant."""
    if sentiment is None:
        return {"mean": None} if at_us - state.mean_us >= AVERAGE_US else {}
    if state.mean is None:
        return {"mean": sentiment, "mean_us": at_us}
    share = min(1.0, max(0, at_us - state.mean_us) / AVERAGE_US)
    return {"mean": state.mean + share * (sentiment - state.mean), "mean_us": at_us}


def _diagnostic(shown: Emotion | None, estimate: Estimate) -> Diagnostic:
    confidence = estimate.confidence if shown is not None and shown == estimate.label else None
    present = {m: estimate.presence.get(m) for m in MODALITIES}
    return Diagnostic(
        None if confidence is None else round(100 * confidence),
        round(estimate.latency_ms.total, 1),
        {m: p is not None and p.state == "present" for m, p in present.items()},
    )


def _is_due(last_us: int | None, at_us: int, least_us: int) -> bool:
    return last_us is None or at_us - last_us >= least_us
