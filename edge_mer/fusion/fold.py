"""Fusion as one pure fold: ``step(state, event) -> (state, outcome)``; a timer tick is an event like any other.

The same events in the same order give the same result bytes, so a journal of the order is enough to replay a run.
This module reads no clock, socket or random number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import EventChange, Feature, Message, Presence, SensorState
from edge_mer.contract.people import OFF_SCREEN
from edge_mer.events import fold as events
from edge_mer.events.fold import CHANGED, NOTHING
from edge_mer.events.settings import EventSettings
from edge_mer.fusion import people, speaking
from edge_mer.fusion.baseline import personal
from edge_mer.fusion.estimate import Output, Pending
from edge_mer.fusion.features import earlier, piece_of, row_of
from edge_mer.fusion.model import FusionModel
from edge_mer.fusion.people import BESIDE, FACE, Company
from edge_mer.fusion.presence import decide
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.state import (
    FusionState,
    Outcome,
    discontinued,
    forgotten,
    new_stream,
    purged,
    sensed,
    with_track,
    without_events_of,
)
from edge_mer.fusion.stream import ROOM, Stream, advance, ended
from edge_mer.fusion.window import (
    SEGMENTED,
    ModalityTrack,
    TokenPiece,
    TokenWindow,
    insert,
    prune,
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


class Fusion:
    """The fold over one model and one set of settings. Has no state. Without ``events`` there are no events."""

    def __init__(self, settings: FusionSettings, model: FusionModel, events: EventSettings | None = None) -> None:
        self.settings, self.model, self.events = settings, model, events

    def initial(self, tick_us: int) -> FusionState:
        """``tick_us``: the hop boundary before the first tick."""
        factors = self.events.factors if self.events else {}
        return FusionState(
            tick_us, {m: ModalityTrack() for m in MODALITIES}, {ROOM: new_stream(factors)}, factors=factors
        )

    def step(self, state: FusionState, event: Event) -> tuple[FusionState, Outcome]:
        after, outcome = self._step(state, event)
        if after.ended:
            outcome = replace(outcome, events=(*after.ended, *outcome.events))
            after = replace(after, ended=())
        return after, outcome

    def _step(self, state: FusionState, event: Event) -> tuple[FusionState, Outcome]:
        if isinstance(event, Corrected):
            streams = {
                name: replace(s, events=events.corrected(s.events, event.factors)) for name, s in state.streams.items()
            }
            return replace(state, streams=streams, factors=dict(event.factors)), Outcome()
        if isinstance(event, Tick):
            return self._tick(state, event.tick_us)
        if isinstance(event, ModalityPurged):
            return purged(state, event.modality, event.mask_epoch), Outcome()
        body = event.message.body
        if isinstance(body, SensorState):
            return sensed(state, body)
        return self._feature(state, event.message)

    def _feature(self, state: FusionState, message: Message[Feature]) -> tuple[FusionState, Outcome]:
        body, modality = message.body, message.body.modality
        delay = self.settings.delay_us.get(modality, 0)
        if delay:
            body = earlier(body, delay)
        piece = piece_of(message, delay)
        if (fault := self._fault(state, body, piece)) is not None or piece is None:
            return state, Outcome(drops=Counter({f"{modality}.{fault}": 1}))
        if body.mask_epoch > state.tracks[modality].mask_epoch:
            state = purged(state, modality, body.mask_epoch)
        if body.people is not None:
            return self._seen(state, body, piece), Outcome()
        track = state.tracks[modality]
        changed = not replaces_context(modality) and track.context not in (None, body.context)
        if body.cut or changed:
            held = bool(track.pieces)
            track = replace(track, pieces=(), present=False, poor_hops=0)
            if held:
                state = without_events_of(discontinued(state), modality, body.mask_epoch, CHANGED)
        pieces = insert(track.pieces, piece, replaces_context(modality))
        most = FLOOD * self.model.capacity[modality]
        keep = state.tick_us - self.settings.window_us - self.settings.horizon_us
        pieces, flooded = prune(pieces, keep, most)
        ends = [track.watermark_us, body.watermark_us, *(int(e) for e in piece.end_us[-1:])]
        track = replace(track, pieces=pieces, context=body.context, watermark_us=max(ends))
        state = with_track(state, modality, track)
        if replaces_context(modality):
            state = replace(state, changed=state.changed | {modality})
        if body.voice is not None and state.company is not None:
            company = replace(state.company, voice=speaking.heard(state.company.voice, body.voice))
            state = replace(state, company=company)
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

    def _seen(self, state: FusionState, body: Feature, piece: TokenPiece) -> FusionState:
        """The camera tells people apart: everybody has tokens of their own."""
        assert body.people is not None
        known = state.company or Company()
        rows = {row.person: row.token for row in body.people if row.token is not None and not row.masked}
        reasons = {row.person: row.reason for row in body.people}
        pieces = {name: row_of(piece, row, reasons[name]) for name, row in rows.items() if row < len(piece.values)}
        company, cut = people.seen(known, body, pieces, FLOOD * self.model.capacity[FACE])
        shared = state.tracks[FACE]
        watermark = max([shared.watermark_us, body.watermark_us, *(int(e) for e in piece.end_us[-1:])])
        state = with_track(state, FACE, replace(shared, pieces=(), watermark_us=watermark))
        streams = state.streams
        if state.company is None:
            streams, cut = {}, cut | state.streams.keys()
        gone = [n for n in cut if n in state.streams]
        over = tuple(c for n in gone for c in ended(state.streams[n], state.tick_us, body.mask_epoch, CHANGED))
        kept = {n: s for n, s in streams.items() if n not in cut}
        return replace(state, company=company, streams=kept, ended=(*state.ended, *over))

    def _tick(self, state: FusionState, tick_us: int) -> tuple[FusionState, Outcome]:
        if tick_us <= state.tick_us:
            return state, Outcome(drops=Counter({"tick.reordered": 1}))
        if state.company is not None:
            if state.company.persons and self._is_blind(state, tick_us):
                state = forgotten(state, FACE)
            return self._tick_of_people(state, tick_us)
        windows, decided = self._decided(state.tracks, tick_us, self.settings.baseline)
        presence: dict[Modality, Presence] = {m: decided[m][1] for m in MODALITIES}
        newest = self._newest(state, tick_us, windows, presence, state.tracks)
        late = {m: state.tracks[m] for m in SEGMENTED if m in state.changed}
        stream, outputs, changes = advance(state.streams[ROOM], newest, late, self.settings, self.model, self.events)
        tracks = self._pruned({m: t for m, (t, _) in decided.items()}, tick_us)
        after = replace(state, tick_us=tick_us, tracks=tracks, streams={ROOM: stream}, changed=frozenset())
        return after, Outcome(outputs, events=changes)

    def _is_blind(self, state: FusionState, tick_us: int) -> bool:
        """Whether the camera has sent nothing for so long that nobody knows who is in view."""
        oldest = tick_us - self.settings.max_age_us[FACE] - self.settings.delay_us.get(FACE, 0)
        return state.tracks[FACE].watermark_us < oldest

    def _tick_of_people(self, state: FusionState, tick_us: int) -> tuple[FusionState, Outcome]:
        assert state.company is not None
        company = people.listened(state.company, tick_us)
        voiced = company.has_voice()
        streams, persons = dict[str, Stream](), dict(company.persons)
        late = {m: state.tracks[m] for m in SEGMENTED if m in state.changed}
        names = [*persons, OFF_SCREEN]
        focus = company.focused()
        count = max(1, len(persons) + (voiced == OFF_SCREEN))
        baseline = self.settings.baseline if company.sole is not None else {}
        outputs, changes = list[Output](), list[EventChange]()
        for name in names:
            stream = state.streams.get(name) or new_stream(state.factors)
            has_voice = name == voiced
            views = {FACE: self._face_of(state, company, name)}
            begin = people.begins(company, name, tick_us, self.settings.hop_us) if has_voice else -1
            beside = people.own_tracks(stream, state.tracks, begin)
            windows, decided = self._decided({**views, **beside} if has_voice else views, tick_us, baseline)
            presence = {m: d[1] for m, d in decided.items()}
            if not has_voice:
                reason = people.SOMEBODY_ELSE if company.voice.owner else people.NOT_KNOWN
                presence |= {m: people.withheld(state.tracks[m], reason) for m in BESIDE}
            if name in persons:
                persons[name] = replace(persons[name], track=self._pruned({FACE: decided[FACE][0]}, tick_us)[FACE])
            heard = {m: replace(decided[m][0], pieces=()) for m in BESIDE} if has_voice else {}
            stream = replace(stream, heard=heard, has_voice=has_voice)
            speaks = any(p.state == "present" for p in presence.values())
            if name == OFF_SCREEN and focus != OFF_SCREEN and not (has_voice and speaks):
                changes += ended(stream, tick_us, max(t.mask_epoch for t in state.tracks.values()), NOTHING)
                if has_voice:
                    streams[name] = replace(stream, events=new_stream(state.factors).events)
                continue
            newest = self._newest(state, tick_us, windows, presence, beside if has_voice else {})
            newest = replace(newest, person=None if name == OFF_SCREEN and not speaks else name, focus=name == focus)
            streams[name], more, begun = advance(stream, newest, late, self.settings, self.model, self.events, count)
            outputs += more
            changes += begun
        company = replace(company, persons=persons, focus=focus)
        newest_of = {n: s.pending[-1] for n, s in streams.items() if s.pending}
        tracks = self._pruned(state.tracks, tick_us)
        epoch = max(t.mask_epoch for t in tracks.values())
        after = replace(state, tick_us=tick_us, tracks=tracks, streams=streams, company=company, changed=frozenset())
        view = people.people_message(company, newest_of, tick_us, epoch)
        return after, Outcome(tuple(outputs), events=tuple(changes), people=view)

    def _face_of(self, state: FusionState, company: Company, name: str) -> ModalityTrack:
        """The face of a person with what holds of the whole camera; of the voice off screen, none."""
        shared = state.tracks[FACE]
        if name not in company.persons:
            return replace(shared, pieces=())
        track = company.persons[name].track
        return replace(
            track,
            mask_epoch=shared.mask_epoch,
            watermark_us=shared.watermark_us,
            blocked=shared.blocked or track.blocked,
        )

    def _decided(
        self, tracks: Mapping[Modality, ModalityTrack], tick_us: int, baseline: Mapping[Modality, tuple[float, ...]]
    ) -> tuple[dict[Modality, TokenWindow], dict[Modality, tuple[ModalityTrack, Presence]]]:
        """The window of each track, and whether it takes part."""
        model, settings = self.model, self.settings
        windows = dict[Modality, TokenWindow]()
        for m, track in tracks.items():
            window = select(track.pieces, tick_us, settings.window_us, track.cut_us, model.capacity[m], model.dims[m])
            windows[m] = personal(m, window, baseline.get(m))
        return windows, {m: decide(m, track, windows[m], tick_us, settings) for m, track in tracks.items()}

    def _newest(
        self,
        state: FusionState,
        tick_us: int,
        windows: Mapping[Modality, TokenWindow],
        presence: Mapping[Modality, Presence],
        tracks: Mapping[Modality, ModalityTrack],
    ) -> Pending:
        """The windows of this tick; late segments of ``tracks`` may revise them."""
        return Pending(
            tick_us=tick_us,
            windows={m: windows[m] for m in MODALITIES if presence[m].state == "present"},
            presence={m: presence[m] for m in MODALITIES},
            revisable={m: tracks[m].cut_us for m in SEGMENTED if m in tracks and tracks[m].blocked is None},
            mask_epoch=max(t.mask_epoch for t in state.tracks.values()),
            previous=None,
        )

    def _pruned(self, tracks: Mapping[Modality, ModalityTrack], tick_us: int) -> dict[Modality, ModalityTrack]:
        keep = tick_us - self.settings.window_us - self.settings.horizon_us
        most = {m: FLOOD * self.model.capacity[m] for m in tracks}
        return {m: replace(t, pieces=prune(t.pieces, keep, most[m])[0]) for m, t in tracks.items()}
