"""What the fold remembers between two events, and what masks and sensors make of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import EventChange, SensorState
from edge_mer.contract.people import OFF_SCREEN, People
from edge_mer.events import fold as events
from edge_mer.events.fold import CHANGED, MASKED
from edge_mer.fusion import speaking
from edge_mer.fusion.estimate import Output, Pending
from edge_mer.fusion.people import FACE, SOUND, Company
from edge_mer.fusion.stream import ROOM, Stream, ended, without_evidence
from edge_mer.fusion.window import ModalityTrack, purge


@dataclass(frozen=True, slots=True)
class FusionState:
    """``streams``: the estimates of each person, or of the room. ``company``: who is in view; None where nobody is told
    apart. ``changed``: segmented modalities that received a message since the last tick. ``ended``: events that ended
    since the last message."""

    tick_us: int
    tracks: Mapping[Modality, ModalityTrack]
    streams: Mapping[str, Stream]
    company: Company | None = None
    changed: frozenset[Modality] = frozenset()
    factors: Mapping[str, float] = field(default_factory=dict)
    ended: tuple[EventChange, ...] = ()

    @property
    def pending(self) -> tuple[Pending, ...]:
        """Provisional estimates of the focus."""
        name = ROOM if self.company is None else self.company.focus
        return self.streams[name].pending if name is not None and name in self.streams else ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one event: estimates and changes of events to publish, each in order, who is in view, and counts of
    dropped messages by reason."""

    outputs: tuple[Output, ...] = ()
    drops: Counter[str] = field(default_factory=Counter)
    events: tuple[EventChange, ...] = ()
    people: People | None = None


def new_stream(factors: Mapping[str, float]) -> Stream:
    return Stream(events=events.EventState(factors=factors))


def discontinued(state: FusionState) -> FusionState:
    """The next estimates are not smoothed with those so far."""
    return replace(state, streams={name: replace(s, continues=False) for name, s in state.streams.items()})


def with_track(state: FusionState, modality: Modality, track: ModalityTrack) -> FusionState:
    return replace(state, tracks={**state.tracks, modality: track})


def purged(state: FusionState, modality: Modality, mask_epoch: int) -> FusionState:
    """Purge one modality, every pending estimate that could contain it, and its evidence of events."""
    track = state.tracks[modality]
    if mask_epoch <= track.mask_epoch:
        return state
    state = _cut(without_events_of(state, modality, mask_epoch, MASKED))
    return forgotten(with_track(state, modality, purge(track, mask_epoch)), modality)


def _cut(state: FusionState) -> FusionState:
    return replace(state, streams={name: s.cut() for name, s in state.streams.items()})


def forgotten(state: FusionState, modality: Modality) -> FusionState:
    """Without what is known of people by ``modality``: who is in view, or whose voice is heard."""
    company = state.company
    if company is None or modality not in (FACE, SOUND):
        return state
    if modality == SOUND:
        return replace(state, company=replace(company, voice=speaking.VoiceState()))
    epoch = max(t.mask_epoch for t in state.tracks.values())
    gone = [s for name, s in state.streams.items() if name != OFF_SCREEN]
    over = tuple(change for s in gone for change in ended(s, state.tick_us, epoch, CHANGED))
    streams = {name: s for name, s in state.streams.items() if name == OFF_SCREEN}
    curves = speaking.VoiceState(company.voice.curves)
    return replace(state, company=Company(voice=curves), streams=streams, ended=(*state.ended, *over))


def without_events_of(state: FusionState, modality: Modality, mask_epoch: int, reason: str) -> FusionState:
    """Without the evidence that came from ``modality``: the events that it began end."""
    epoch = max([mask_epoch, *(t.mask_epoch for t in state.tracks.values())])
    streams, changes = dict[str, Stream](), list[EventChange]()
    for name, stream in state.streams.items():
        streams[name], over = without_evidence(stream, modality, state.tick_us, epoch, reason)
        changes += over
    return replace(state, streams=streams, ended=(*state.ended, *changes))


def sensed(state: FusionState, body: SensorState) -> tuple[FusionState, Outcome]:
    modality = body.modality
    if body.mask_epoch < state.tracks[modality].mask_epoch:
        return state, Outcome(drops=Counter({f"{modality}.masked": 1}))
    state = purged(state, modality, body.mask_epoch)
    blocked: tuple[str, str | None] | None = None
    if body.gate != "live":
        blocked = (body.gate, body.reason)
    elif body.health in ("absent", "frozen", "failed", "silent"):
        blocked = (body.health, body.reason)
    track = state.tracks[modality]
    if blocked is not None and modality == FACE:
        state = forgotten(state, modality)
    if blocked is not None and track.pieces:
        track = replace(track, pieces=(), present=False, poor_hops=0, context=None)
        state = discontinued(state)
    is_new = track.blocked is None or track.blocked[0] not in ("masked", "hard")
    if body.gate != "live" and is_new:
        state = without_events_of(state, modality, body.mask_epoch, MASKED)
        state = _cut(state)
    return with_track(state, modality, replace(track, blocked=blocked)), Outcome()
