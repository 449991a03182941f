"""The stream of estimates of one person, or of the room where nobody is told apart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import EventChange
from edge_mer.events import fold as events
from edge_mer.events.fold import EventState
from edge_mer.events.settings import EventSettings
from edge_mer.fusion.estimate import Output, Pending, estimate, finished, revised
from edge_mer.fusion.model import FusionModel
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.window import ModalityTrack

# The stream of everybody, where nobody is told apart.
ROOM: Final = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """``pending``: provisional estimates that late text may still revise; ``continues``: whether the next estimate may
    be smoothed with the last of them. ``events``: evidence of events.

    Of a person: ``heard``: whether each modality beside the camera takes part, without its tokens; ``has_voice``:
    whether it was this person's at the last tick.
    """

    pending: tuple[Pending, ...] = ()
    continues: bool = False
    events: EventState = field(default_factory=EventState)
    heard: Mapping[Modality, ModalityTrack] = field(default_factory=dict)
    has_voice: bool = False

    def cut(self) -> Stream:
        """Without the estimates so far: nothing of them reaches later ones."""
        return replace(self, pending=(), continues=False)


def advance(
    stream: Stream,
    newest: Pending,
    late: Mapping[Modality, ModalityTrack],
    settings: FusionSettings,
    model: FusionModel,
    budget: EventSettings | None,
    people: int = 1,
) -> tuple[Stream, tuple[Output, ...], tuple[EventChange, ...]]:
    """The stream after one tick, its outputs in order, and its changes of events.

    ``newest``: the windows of this tick; ``late``: segmented modalities that received a message since the tick before.
    ``people``: how many have a stream now, who share the budget of events.
    """
    pending, outputs = stream.pending, list[Output]()
    for modality, track in late.items():
        pending, revisions = revised(pending, modality, track, settings, model)
        outputs += revisions
    previous = pending[-1].smoothed if pending and stream.continues else None
    newest = estimate(replace(newest, previous=previous), settings, model)
    horizon_us = newest.tick_us - settings.horizon_us
    pending, final = finished((*pending, newest), horizon_us)
    expressed, changes = stream.events, tuple[EventChange, ...]()
    if budget is not None and newest.estimate is not None:
        expressed, changes = events.step(budget, expressed, newest.tick_us, newest.estimate, people)
    # Without a horizon the newest estimate is already final, so no provisional one is published.
    fresh = () if newest.tick_us <= horizon_us else (newest.output(final=False),)
    after = replace(stream, pending=pending, continues=True, events=expressed)
    return after, (*outputs, *final, *fresh), changes


def without_evidence(
    stream: Stream, modality: Modality, tick_us: int, mask_epoch: int, reason: str
) -> tuple[Stream, tuple[EventChange, ...]]:
    """Without the evidence of events that came from ``modality``: the events that it began end."""
    kept, ended = events.cut(stream.events, modality, tick_us, mask_epoch, reason)
    return replace(stream, events=kept), ended


def ended(stream: Stream, tick_us: int, mask_epoch: int, reason: str) -> tuple[EventChange, ...]:
    """The ends of all events of a stream that is given up."""
    begun = [e.event for e in stream.events.evidence.values() if e.event is not None]
    return tuple(
        msgspec.structs.replace(e, phase="end", end_us=tick_us, reason=reason, mask_epoch=mask_epoch) for e in begun
    )
