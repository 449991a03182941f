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
from edge_mer.contract.messages import Estimate, People
from edge_mer.contract.people import PersonInView, in_order
from edge_mer.gateway.mqtt import debounce
from edge_mer.gateway.mqtt.debounce import DebounceSettings, Steady

# Changes of the emotion: so many at once, and one more each time.
CHANGES, CHANGE_US = 200, 120 * SECOND
# Least time between changes of the others.
SENTIMENT_US, WHY_US, DIAGNOSTIC_US = 90 * SECOND, 600 * SECOND, 60 * SECOND
# Who is in view, and whether somebody speaks.
PEOPLE_US, SPEAKING_US = 240 * SECOND, 180 * SECOND
MOST_PEOPLE = 4
AVERAGE_US = 5 * SECOND
NOT_STEADY, TOO_OFTEN, NOT_CONFIDENT = "not steady yet", "it changes too often", "below mqtt.min_confidence"
NO_ESTIMATE, KNOWN = "no estimate", "an emotion is given"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """``confidence`` in percent, of the shown emotion only; ``valence`` and ``arousal`` in [-1, 1]."""

    confidence: int | None = None
    latency_ms: float | None = None
    valence: float | None = None
    arousal: float | None = None
    present: Mapping[Modality, bool] = field(default_factory=lambda: dict.fromkeys(MODALITIES, False))


@dataclass(frozen=True, slots=True)
class InView:
    """Who is shown: how many, and of each of the first ``MOST_PEOPLE`` of them some words."""

    count: int | None = None
    persons: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """``emotion``, ``sentiment``, ``why`` (no emotion is given) and ``diagnostic`` are shown; the rest is their state.

    ``people`` and ``speaking`` come from topic ``people``, ``labels`` are the newest of each person.

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
    people: InView = InView()
    speaking: bool | None = None
    people_us: int | None = None
    speaking_us: int | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)


def of_person(state: Shown, estimate: Estimate) -> Shown:
    """Keep what a person expresses, for the next change of who is shown."""
    return (
        state if estimate.person is None else replace(state, labels={**state.labels, estimate.person: estimate.label})
    )


def seen(state: Shown, people: People, at_us: int) -> Shown:
    """Fold who is in view at ``at_us``. A change that comes too soon is shown later."""
    there = {p.person for p in people.people}
    labels = {name: label for name, label in state.labels.items() if name in there}
    state = replace(state, labels=labels)
    found = InView(len(people.people), {p.person: _words(p, labels) for p in in_order(people.people)[:MOST_PEOPLE]})
    if found != state.people and _is_due(state.people_us, at_us, PEOPLE_US):
        state = replace(state, people=found, people_us=at_us)
    speaks = people.voice is not None
    if speaks != state.speaking and _is_due(state.speaking_us, at_us, SPEAKING_US):
        state = replace(state, speaking=speaks, speaking_us=at_us)
    return state


def _words(person: PersonInView, labels: Mapping[str, str | None]) -> dict[str, Any]:
    if person.masked:
        return {"masked": True}
    return {
        "expressed": labels.get(person.person),
        "speaking": person.speaking,
        "sensors": person.combination,
        "focus": person.focus,
    }


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
    sentiment = _rounded(state.mean)
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
    return Shown(
        left=state.left,
        left_us=state.left_us,
        sentiment_us=state.sentiment_us,
        why_us=state.why_us,
        people_us=state.people_us,
        speaking_us=state.speaking_us,
    )


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
        _rounded(estimate.valence),
        _rounded(estimate.arousal),
        {m: p is not None and p.state == "present" for m, p in present.items()},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1) + 0.0  # no -0.0


def _is_due(last_us: int | None, at_us: int, least_us: int) -> bool:
    return last_us is None or at_us - last_us >= least_us
