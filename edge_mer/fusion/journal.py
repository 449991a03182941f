"""The journal of the fold: the inputs of each tick, in order, chained so that no entry can be moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import (
    CorrectionRef,
    Estimate,
    EventChange,
    InputRef,
    Journal,
    People,
    PurgeRef,
    canonical,
    digest,
)
from edge_mer.events.settings import EventSettings
from edge_mer.fusion.fold import Arrived, Corrected, Event, ModalityPurged
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.state import FusionState, Outcome

# The topics of results, which a replay must reproduce.
RESULTS: Final = ("emotion", "person", "event", "people")
# A publisher keeps 2,000 entries for readers that join: they always contain the newest opening.
REPEAT_OPENING = 500


class Result(NamedTuple):
    """One published result: its topic and content, and when the window or the event ended."""

    topic: str
    origin_us: int
    body: Estimate | EventChange | People

    @property
    def digest(self) -> str:
        return digest(canonical(self.origin_us, self.body))


class InitialState(Struct, frozen=True):
    """In entry 0 of every instance of the node: all that a replay needs beside the inputs. Without ``events`` the
    node publishes none, as before there were any."""

    settings: FusionSettings
    model: str
    runtime: dict[str, str]
    tick_us: int
    events: EventSettings | None = None


def opening_entry(opening: InitialState) -> Journal:
    return Journal(
        entry=0,
        tick_us=opening.tick_us,
        inputs=(),
        watermarks={},
        drops={},
        results=(),
        chain="",
        opening=msgspec.json.encode(opening, order="sorted").decode(),
    )


def opening_of(entry: Journal) -> InitialState | None:
    """The initial state in an entry; None where it has none. Raises SessionError when it is damaged."""
    if entry.opening is None:
        return None
    try:
        return msgspec.json.decode(entry.opening, type=InitialState)
    except msgspec.DecodeError as error:
        raise SessionError(f"journal entry {entry.entry}: its opening is damaged: {error}") from error


def next_entry(
    previous: Journal,
    state: FusionState,
    inputs: Sequence[InputRef | PurgeRef | CorrectionRef],
    outcome: Outcome,
    changes: Sequence[EventChange],
    drops: Mapping[str, int],
    opening: str | None = None,
) -> Journal:
    """The entry of one tick: ``inputs`` since the tick before, ``outcome`` of the tick, ``changes`` of events and
    ``drops`` of both.

    ``opening`` is that of entry 0; every ``REPEAT_OPENING``-th entry repeats it.
    """
    number = previous.entry + 1
    watermarks: dict[Modality, int] = {m: t.watermark_us for m, t in state.tracks.items() if t.watermark_us >= 0}
    return Journal(
        entry=number,
        tick_us=state.tick_us,
        inputs=tuple(inputs),
        watermarks=watermarks,
        drops=dict(sorted(Counter(drops).items())),
        results=tuple(r.digest for r in results_of(outcome, changes, state.tick_us)),
        chain=link(previous),
        opening=opening if number % REPEAT_OPENING == 0 else None,
    )


def reference(event: Event) -> InputRef | PurgeRef | CorrectionRef | None:
    """How the journal names an event; ticks are named by their entry."""
    if isinstance(event, Arrived):
        return event.message.ref
    if isinstance(event, Corrected):
        return CorrectionRef(dict(event.factors))
    return PurgeRef(event.modality, event.mask_epoch) if isinstance(event, ModalityPurged) else None


def purged_inputs(inputs: Sequence[InputRef | PurgeRef | CorrectionRef]) -> frozenset[InputRef]:
    """Features removed by a purge of the same entry: a replay gives the same results without them. A recorder that
    receives the purge first does not write them."""
    purged: set[InputRef] = set()
    for place, purge in enumerate(inputs):
        if isinstance(purge, PurgeRef):
            topic = f"feature/{purge.modality}"
            purged |= {r for r in inputs[:place] if isinstance(r, InputRef) and r.topic == topic}
    return frozenset(purged)


def results_of(outcome: Outcome, changes: Sequence[EventChange], tick_us: int) -> tuple[Result, ...]:
    """Of one entry, in the order of its digests."""
    estimates = (Result(topic_of(o.estimate), o.origin_us, o.estimate) for o in outcome.outputs)
    events = (Result("event", origin_of(c), c) for c in changes)
    view = () if outcome.people is None else (Result("people", tick_us, outcome.people),)
    return (*estimates, *events, *view)


def topic_of(estimate: Estimate) -> str:
    """``emotion`` has the focus alone, so that it means the same however many people are in view."""
    return "person" if estimate.focus is False else "emotion"


def link(entry: Journal) -> str:
    """The hash that the next entry carries."""
    return digest(canonical(entry.tick_us, entry))


def origin_of(change: EventChange) -> int:
    """When the change happened: where the evidence began, and where the event ended."""
    return change.begin_us if change.end_us is None else change.end_us
