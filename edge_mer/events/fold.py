"""From first estimates to events: ``step(settings, state, tick, estimate) -> (state, changes)``, a pure fold.

For each label a sequential test against "nobody expresses it" adds up evidence (nats) and never falls below zero, so
that it restarts by itself (a CUSUM e-detector; Shin, Ramdas, Rinaldo 2023, "E-detectors"). An event begins where the
evidence reaches the threshold of its label and combination, and ends where half of it is lost.

The anytime bound. Windows of W us overlap at hops of H, so each estimate counts for the share H / W of its evidence.
The sum over consecutive estimates is then the mean of k = W / H interleaved sums, each of windows that share no
recorded time. If, given the past, a person who expresses nothing has a mean factor of at most 1 in each of these, they
are test supermartingales. Where the mean of k sums reaches a threshold, so does one of them, from the same beginning
on; by Ville's inequality and the union over beginnings and sums, an event begins within n hops with a probability of at
most n / exp(threshold). What this supposes: that windows without common time are independent given the person, and that
the person is like those of the fit; a person whose neutral voice or face is unlike theirs is not covered. Thresholds
are chosen on measured hours (``edge_mer.events.settings``), which suppose neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edge_mer.contract.domain import Combination, EventLabel, Modality, modalities_of
from edge_mer.contract.messages import Estimate, EventChange
from edge_mer.events.evidence import ratio_of
from edge_mer.events.settings import EventSettings, Rule

# The share of the threshold below which an event ends.
RELEASE: Final = 0.5
FADED, MASKED, CHANGED, NOTHING = "the evidence faded", "masked", "another face or voice", "no estimate"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one label. ``since_us``: where the evidence last left zero; ``newest_us``: the last estimate that counted;
    ``combinations``: those of the estimates since then; ``peak``: most evidence so far. ``event``: the change that
    began the event, None while there is none."""

    nats: float = 0.0
    since_us: int = 0
    newest_us: int = 0
    combinations: tuple[Combination, ...] = ()
    peak: float = 0.0
    event: EventChange | None = None


NONE: Final = Evidence()


@dataclass(frozen=True, slots=True)
class EventState:
    """``newest_us``: the newest estimate folded; ``factors``: thresholds of this home, as multiples of the shipped."""

    evidence: Mapping[EventLabel, Evidence] = field(default_factory=dict)
    newest_us: int = -1
    factors: Mapping[str, float] = field(default_factory=dict)


def initial(settings: EventSettings) -> EventState:
    return EventState(factors=settings.factors)


def step(
    settings: EventSettings, state: EventState, tick_us: int, estimate: Estimate, people: int = 1
) -> tuple[EventState, tuple[EventChange, ...]]:
    """One first estimate; a revision, or one that is not newer, changes nothing.

    ``people``: how many have a fold of their own now. They share the budget: each threshold is higher by the logarithm
    of their number, so that the union over all of them keeps the bound of one.
    """
    if estimate.revision or tick_us <= state.newest_us:
        return state, ()
    held, changes = dict[EventLabel, Evidence](), list[EventChange]()
    for label, ratios in settings.ratios.items():
        before = state.evidence.get(label, NONE)
        nats = ratio_of(label, estimate, ratios)
        if nats is None:
            after, reason = _without(before, tick_us, settings), NOTHING
        else:
            after, reason = _with(before, nats * settings.weight, tick_us, estimate.combination, settings), FADED
        if (event := after.event) is not None:
            after = replace(after, nats=min(after.nats, event.threshold))
            if after.nats < RELEASE * event.threshold:
                changes.append(_ended(event, after.peak, tick_us, reason, estimate.mask_epoch))
                after = NONE
        elif (begun := _begun(settings, state, label, after, tick_us, estimate, people)) is not None:
            changes.append(begun)
            after = replace(after, event=begun)
        if after is not NONE:
            held[label] = after
    return EventState(held, tick_us, state.factors), tuple(changes)


def cut(
    state: EventState, modality: Modality, tick_us: int, mask_epoch: int, reason: str = MASKED
) -> tuple[EventState, tuple[EventChange, ...]]:
    """Without all evidence that came from ``modality``; the events that it began end at once."""
    gone = {
        label: e for label, e in state.evidence.items() if any(modality in modalities_of(c) for c in e.combinations)
    }
    kept = {label: e for label, e in state.evidence.items() if label not in gone}
    ended = [_ended(e.event, None, tick_us, reason, mask_epoch) for e in gone.values() if e.event is not None]
    return replace(state, evidence=kept), tuple(ended)


def corrected(state: EventState, factors: Mapping[str, float]) -> EventState:
    """With other thresholds of this home."""
    return replace(state, factors=dict(factors))


def _with(before: Evidence, nats: float, tick_us: int, combination: Combination, settings: EventSettings) -> Evidence:
    total = max(0.0, before.nats + nats)
    if total == 0.0 and before.event is None:
        return NONE
    begins = before.nats == 0.0 and before.event is None
    known = () if begins else before.combinations
    return Evidence(
        nats=total,
        since_us=tick_us - settings.hop_us if begins else before.since_us,
        newest_us=tick_us,
        combinations=known if combination in known else (*known, combination),
        peak=max(0.0 if begins else before.peak, total),
        event=before.event,
    )


def _without(before: Evidence, tick_us: int, settings: EventSettings) -> Evidence:
    """Without an estimate nothing is added, and after the gap everything is forgotten."""
    if before is NONE or tick_us - before.newest_us < settings.gap_us:
        return before
    return NONE if before.event is None else replace(before, nats=0.0)


def _limit(settings: EventSettings, state: EventState, label: EventLabel, after: Evidence) -> tuple[float, Rule | None]:
    """The highest threshold of the combinations that the evidence came from, and its rule; no rule: the event is off
    for one of them."""
    limit, chosen = 0.0, None
    for c in after.combinations:
        rule = settings.rules.get(label, {}).get(c)
        if rule is None:
            return 0.0, None
        value = rule.threshold * state.factors.get(key(label, c), 1.0)
        if value > limit:
            limit, chosen = value, rule
    return limit, chosen


def key(label: str, combination: str) -> str:
    """How a threshold is named: ``angry/av``."""
    return f"{label}/{combination}"


def _begun(
    settings: EventSettings,
    state: EventState,
    label: EventLabel,
    after: Evidence,
    tick_us: int,
    estimate: Estimate,
    people: int,
) -> EventChange | None:
    limit, rule = _limit(settings, state, label, after)
    limit += math.log(people)
    if rule is None or after.nats < limit or tick_us - after.since_us < settings.minimum_us:
        return None
    return EventChange(
        event="-".join(filter(None, (label, estimate.combination, str(tick_us // 100_000), estimate.person))),
        phase="begin",
        label=label,
        begin_us=after.since_us,
        end_us=None,
        combinations=after.combinations,
        evidence=after.nats,
        threshold=limit,
        hours_per_wrong=rule.hours_per_wrong,
        proven_hours=rule.proven_hours,
        reason=None,
        biometric=estimate.biometric,
        mask_epoch=estimate.mask_epoch,
        model=estimate.model,
        person=estimate.person,
    )


def _ended(event: EventChange, peak: float | None, tick_us: int, reason: str, mask_epoch: int) -> EventChange:
    return EventChange(
        event=event.event,
        phase="end",
        label=event.label,
        begin_us=event.begin_us,
        end_us=tick_us,
        combinations=event.combinations,
        evidence=event.evidence if peak is None else peak,
        threshold=event.threshold,
        hours_per_wrong=event.hours_per_wrong,
        proven_hours=event.proven_hours,
        reason=reason,
        biometric=event.biometric,
        mask_epoch=mask_epoch,
        model=event.model,
        person=event.person,
    )
