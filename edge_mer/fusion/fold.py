"""Fusion as one pure fold: ``step(state, event) -> (state, outcome)``; a timer tick is an event like any other.

The same events in the same order give the same result bytes, so a journal of the order is enough to replay a run.
This module reads no clock, socket or random number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import EventChange, Feature, Message, Presence, SensorState
from edge_mer.events import fold as events
from edge_mer.events.fold import CHANGED, MASKED, EventState
from edge_mer.events.settings import EventSettings
from edge_mer.fusion.baseline import personal
from edge_mer.fusion.estimate import Output, Pending, estimate, finished, revised
from edge_mer.fusion.model import FusionModel
from edge_mer.fusion.presence import decide
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.window import (
    SEGMENTED,
    ModalityTrack,
    TokenPiece,
    TokenWindow,
    insert,
    prune,
    purge,
    replaces_context,
    select,
)

FLOOD = 4  # a modality holds at most this many windows of tokens


@dataclass(frozen=True, slots=True)
class Arrived:
    """A feature or a sensor state arrived."""

    message: Message[Any]


@dataclass(frozen=True, slots=True)
class ModalityPurged:
    """The switch masked or unmasked a modality: delete all its data from before ``mask_epoch``."""

    modality: Modality
    mask_epoch: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """The householder called events wrong, or took that back: the factors of thresholds that hold from now on."""

    factors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A hop boundary."""

    tick_us: int


Event = Arrived | ModalityPurged | Corrected | Tick


@dataclass(frozen=True, slots=True)
class FusionState:
    """``pending``: provisional estimates that late text may still revise; ``continues``: whether the next estimate may
    be smoothed with the last of them. ``changed``: segmented modalities that received a message since the last tick.
    ``events``: evidence of events, and ``ended`` those that ended since the last message."""

    tick_us: int
    tracks: Mapping[Modality, ModalityTrack]
    pending: tuple[Pending, ...] = ()
    continues: bool = False
    changed: frozenset[Modality] = frozenset()
    events: EventState = field(default_factory=EventState)
    ended: tuple[EventChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one event: estimates and changes of events to publish, each in order, and counts of dropped messages by
    reason."""

    outputs: tuple[Output, ...] = ()
    drops: Counter[str] = field(default_factory=Counter)
    events: tuple[EventChange, ...] = ()


class Fusion:
    """The fold over one model and one set of settings. Has no state. Without ``events`` there are no events."""

    def __init__(self, settings: FusionSettings, model: FusionModel, events: EventSettings | None = None) -> None:
        self.settings, self.model, self.events = settings, model, events

    def initial(self, tick_us: int) -> FusionState:
        """``tick_us``: the hop boundary before the first tick."""
        begun = events.initial(self.events) if self.events else EventState()
        return FusionState(tick_us, {m: ModalityTrack() for m in MODALITIES}, events=begun)

    def step(self, state: FusionState, event: Event) -> tuple[FusionState, Outcome]:
        after, outcome = self._step(state, event)
        if after.ended:
            outcome = replace(outcome, events=(*after.ended, *outcome.events))
            after = replace(after, ended=())
        return after, outcome

    def _step(self, state: FusionState, event: Event) -> tuple[FusionState, Outcome]:
        if isinstance(event, Corrected):
            return replace(state, events=events.corrected(state.events, event.factors)), Outcome()
        if isinstance(event, Tick):
            return self._tick(state, event.tick_us)
        if isinstance(event, ModalityPurged):
            return _purge(state, event.modality, event.mask_epoch), Outcome()
        body = event.message.body
        if isinstance(body, SensorState):
            return _sensor(state, body)
        return self._feature(state, event.message)

    def _feature(self, state: FusionState, message: Message[Feature]) -> tuple[FusionState, Outcome]:
        body, modality = message.body, message.body.modality
        delay = self.settings.delay_us.get(modality, 0)
        if delay:
            body = msgspec.structs.replace(body, watermark_us=body.watermark_us - delay)
        piece = _piece(message, delay)
        if (fault := self._fault(state, body, piece)) is not None or piece is None:
            return state, Outcome(drops=Counter({f"{modality}.{fault}": 1}))
        if body.mask_epoch > state.tracks[modality].mask_epoch:
            state = _purge(state, modality, body.mask_epoch)
        track = state.tracks[modality]
        changed = not replaces_context(modality) and track.context not in (None, body.context)
        if body.cut or changed:
            held = bool(track.pieces)
            track = replace(track, pieces=(), present=False, poor_hops=0)
            state = replace(state, continues=state.continues and not held)
            if held:
                state = _without_evidence(state, modality, body.mask_epoch, CHANGED)
        pieces = insert(track.pieces, piece, replaces_context(modality))
        most = FLOOD * self.model.capacity[modality]
        keep = state.tick_us - self.settings.window_us - self.settings.horizon_us
        pieces, flooded = prune(pieces, keep, most)
        ends = [track.watermark_us, body.watermark_us, *(int(e) for e in piece.end_us[-1:])]
        track = replace(track, pieces=pieces, context=body.context, watermark_us=max(ends))
        state = _with(state, modality, track)
        if replaces_context(modality):
            state = replace(state, changed=state.changed | {modality})
        return state, Outcome(drops=Counter({f"{modality}.flood": flooded} if flooded else {}))

    def _fault(self, state: FusionState, body: Feature, piece: TokenPiece | None) -> str | None:
        """Why a feature is not used; None when it is."""
        modality, track = body.modality, state.tracks[body.modality]
        if body.model != self.model.encoders[modality]:
            return "foreign"
        if piece is None or piece.values.shape[1] != self.model.dims[modality]:
            return "bad"
        is_masked = track.blocked is not None and track.blocked[0] in ("masked", "hard")
        if body.mask_epoch < track.mask_epoch or (is_masked and body.mask_epoch == track.mask_epoch):
            return "masked"
        end = max([body.watermark_us, *map(int, piece.end_us[-1:])])
        if end > state.tick_us + self.settings.hop_us + 2 * self.settings.window_us:
            return "future"
        if replaces_context(modality):
            is_late = end < state.tick_us - self.settings.window_us - self.settings.horizon_us
        else:
            is_late = end < track.watermark_us - self.settings.lateness_us
        return "late" if is_late else None

    def _tick(self, state: FusionState, tick_us: int) -> tuple[FusionState, Outcome]:
        if tick_us <= state.tick_us:
            return state, Outcome(drops=Counter({"tick.reordered": 1}))
        settings = self.settings
        windows = {m: self._window(state.tracks[m], m, tick_us) for m in MODALITIES}
        decided = {m: decide(m, state.tracks[m], windows[m], tick_us, settings) for m in MODALITIES}
        presence: dict[Modality, Presence] = {m: decided[m][1] for m in MODALITIES}
        used = {m: windows[m] for m in MODALITIES if presence[m].state == "present"}
        pending, outputs = state.pending, list[Output]()
        for m in SEGMENTED:
            if m in state.changed:
                pending, revisions = revised(pending, m, state.tracks[m], settings, self.model)
                outputs += revisions
        newest = estimate(
            Pending(
                tick_us=tick_us,
                windows=used,
                presence=presence,
                revisable={m: state.tracks[m].cut_us for m in SEGMENTED if state.tracks[m].blocked is None},
                mask_epoch=max(t.mask_epoch for t in state.tracks.values()),
                previous=pending[-1].smoothed if pending and state.continues else None,
            ),
            settings,
            self.model,
        )
        pending, final = finished((*pending, newest), tick_us - settings.horizon_us)
        keep = tick_us - settings.window_us - settings.horizon_us
        most = {m: FLOOD * self.model.capacity[m] for m in MODALITIES}
        tracks = {m: replace(t, pieces=prune(t.pieces, keep, most[m])[0]) for m, (t, _) in decided.items()}
        expressed, changes = state.events, tuple[EventChange, ...]()
        if self.events is not None and newest.estimate is not None:
            expressed, changes = events.step(self.events, expressed, tick_us, newest.estimate)
        after = FusionState(tick_us, tracks, pending, continues=True, events=expressed, ended=state.ended)
        # Without a horizon the newest estimate is already final, so no provisional one is published.
        fresh = () if newest.tick_us <= tick_us - settings.horizon_us else (newest.output(final=False),)
        return after, Outcome((*outputs, *final, *fresh), events=changes)

    def _window(self, track: ModalityTrack, modality: Modality, tick_us: int) -> TokenWindow:
        window = select(
            track.pieces,
            tick_us,
            self.settings.window_us,
            track.cut_us,
            self.model.capacity[modality],
            self.model.dims[modality],
        )
        return personal(modality, window, self.settings.baseline.get(modality))


def _with(state: FusionState, modality: Modality, track: ModalityTrack) -> FusionState:
    return replace(state, tracks={**state.tracks, modality: track})


def _purge(state: FusionState, modality: Modality, mask_epoch: int) -> FusionState:
    """Purge one modality, every pending estimate that could contain it, and its evidence of events."""
    track = state.tracks[modality]
    if mask_epoch <= track.mask_epoch:
        return state
    state = _without_evidence(state, modality, mask_epoch, MASKED)
    return replace(_with(state, modality, purge(track, mask_epoch)), pending=(), continues=False)


def _without_evidence(state: FusionState, modality: Modality, mask_epoch: int, reason: str) -> FusionState:
    """Without the evidence that came from ``modality``: the events that it began end."""
    epoch = max([mask_epoch, *(t.mask_epoch for t in state.tracks.values())])
    kept, ended = events.cut(state.events, modality, state.tick_us, epoch, reason)
    return replace(state, events=kept, ended=(*state.ended, *ended))


def _sensor(state: FusionState, body: SensorState) -> tuple[FusionState, Outcome]:
    modality = body.modality
    if body.mask_epoch < state.tracks[modality].mask_epoch:
        return state, Outcome(drops=Counter({f"{modality}.masked": 1}))
    state = _purge(state, modality, body.mask_epoch)
    blocked: tuple[str, str | None] | None = None
    if body.gate != "live":
        blocked = (body.gate, body.reason)
    elif body.health in ("absent", "frozen", "failed", "silent"):
        blocked = (body.health, body.reason)
    track = state.tracks[modality]
    if blocked is not None and track.pieces:
        track = replace(track, pieces=(), present=False, poor_hops=0, context=None)
        state = replace(state, continues=False)
    is_new = track.blocked is None or track.blocked[0] not in ("masked", "hard")
    if body.gate != "live" and is_new:
        state = _without_evidence(state, modality, body.mask_epoch, MASKED)
        state = replace(state, pending=(), continues=False)
    return _with(state, modality, replace(track, blocked=blocked)), Outcome()


def _piece(message: Message[Feature], delay_us: int) -> TokenPiece | None:
    """The tokens of a feature message, stamped ``delay_us`` earlier; None when its payload is inconsistent."""
    payload, body = message.payload, message.body
    if [a.dtype for a in payload] != [np.float32, np.int64, np.int64, np.uint8]:
        return None
    values, start, end, valid = payload
    n = len(values)
    if values.ndim != 2 or any(a.shape != (n,) for a in (start, end, valid)):
        return None
    if (start > end).any() or (np.diff(end) < 0).any():
        return None
    return TokenPiece(
        values,
        start - delay_us,
        end - delay_us,
        valid.astype(np.bool_),
        body.context,
        body.biometric,
        body.raw_created_us,
        message.envelope.created_us,
        body.reason,
    )
