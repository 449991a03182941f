"""Everybody in view, each with a stream of estimates, and the voice that belongs to one of them. Pure.

A person's estimate uses their own face, and voice and words only while these are certainly theirs: nobody else's
content can change a bit of it. Where one person is in view and it is not known who speaks, voice and words are theirs.
A voice that belongs to nobody in view, or not certainly, has a stream without a face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edge_mer.contract.domain import MODALITIES, Modality, combination_of
from edge_mer.contract.messages import Feature, Presence
from edge_mer.contract.people import OFF_SCREEN, MouthOpening, People, PersonInView, SeenPerson
from edge_mer.fusion import speaking
from edge_mer.fusion.estimate import Pending
from edge_mer.fusion.speaking import VoiceState
from edge_mer.fusion.stream import Stream
from edge_mer.fusion.window import ModalityTrack, TokenPiece, insert, prune

FACE: Final[Modality] = "video"
SOUND: Final[Modality] = "audio"
BESIDE: Final[tuple[Modality, ...]] = tuple(m for m in MODALITIES if m != FACE)
SOMEBODY_ELSE, NOT_KNOWN = "somebody else speaks", "not known who speaks"
LEFT: Final = "the person left"


@dataclass(frozen=True, slots=True)
class Person:
    """``track``: tokens of the face; ``mouth``: its motion in the last seconds. ``box`` as in SeenPerson."""

    since_us: int
    box: tuple[float, float, float, float]
    track: ModalityTrack = field(default_factory=ModalityTrack)
    mouth: tuple[MouthOpening, ...] = ()
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Company:
    """``persons``: everybody in view. ``focus``: of the last tick."""

    persons: Mapping[str, Person] = field(default_factory=dict)
    voice: VoiceState = field(default_factory=VoiceState)
    focus: str | None = None

    @property
    def sole(self) -> str | None:
        """The only person in view."""
        return next(iter(self.persons)) if len(self.persons) == 1 else None

    def has_voice(self) -> str:
        """The person to whom voice and words are given now, or OFF_SCREEN."""
        if self.voice.owner in self.persons and self.voice.owner is not None:
            return self.voice.owner
        sole = self.sole
        unsure = self.voice.owner is None and sole is not None and not self.persons[sole].masked
        return sole if unsure and sole is not None else OFF_SCREEN

    def focused(self) -> str:
        """Who speaks, else the largest face that is not masked, else the voice."""
        speaker = self.voice.owner
        if speaker in self.persons and speaker is not None and not self.persons[speaker].masked:
            return speaker
        faces = {name: p.box[2] * p.box[3] for name, p in self.persons.items() if not p.masked}
        return max(faces, key=lambda name: faces[name]) if faces else OFF_SCREEN


def seen(
    company: Company, body: Feature, pieces: Mapping[str, TokenPiece], most: int
) -> tuple[Company, frozenset[str]]:
    """The company after a feature of the camera, and whose face is another than before, or gone. ``pieces``: the token
    of each person who has one, of whom ``most`` are held."""
    assert body.people is not None
    persons, cut = dict[str, Person](), set(company.persons)
    for row in body.people:
        known = company.persons.get(row.person)
        is_same = known is not None and known.track.context == row.context and known.masked == row.masked
        if is_same:
            cut.discard(row.person)
        person = known if known is not None and is_same else Person(body.watermark_us, row.box)
        persons[row.person] = _after(person, row, pieces.get(row.person), most)
    voice = company.voice
    if voice.owner is not None and voice.owner in cut:
        voice = VoiceState(voice.curves, is_heard=voice.is_heard)
    return Company(persons, voice, company.focus), frozenset(cut)


def _after(person: Person, row: SeenPerson, piece: TokenPiece | None, most: int) -> Person:
    if row.masked:
        track = ModalityTrack(context=row.context, blocked=("masked", "this person is masked"))
        return Person(person.since_us, row.box, track, masked=True)
    track = replace(person.track, context=row.context)
    if piece is not None:
        pieces, _ = prune(insert(track.pieces, piece, replaces=False), 0, most)
        track = replace(track, pieces=pieces)
    mouth = speaking.recent(person.mouth, row.mouth) if row.mouth else person.mouth
    return replace(person, box=row.box, track=track, mouth=mouth)


def listened(company: Company, tick_us: int) -> Company:
    """The company after the decision whose voice is heard."""
    mouths = {name: p.mouth for name, p in company.persons.items() if not p.masked}
    return replace(company, voice=speaking.decide(company.voice, mouths, tick_us))


def begins(company: Company, name: str, tick_us: int, hop_us: int) -> int:
    """From when on a stream that gets the voice at this tick may use it: from the span by which that was decided, or
    since a sole person came; a voice that is no longer somebody's begins anew, where anybody is in view."""
    if name == OFF_SCREEN:
        return tick_us - hop_us if company.persons else -1
    certain = company.voice.owner == name
    return tick_us - speaking.SPAN_US if certain else max(tick_us - speaking.SPAN_US, company.persons[name].since_us)


def own_tracks(
    stream: Stream, tracks: Mapping[Modality, ModalityTrack], begin_us: int
) -> dict[Modality, ModalityTrack]:
    """The tracks beside the camera as a stream with the voice may use them: without what ended before ``begin_us``."""
    views = dict[Modality, ModalityTrack]()
    for modality in BESIDE:
        held = stream.heard.get(modality, ModalityTrack())
        cut = max(held.cut_us, tracks[modality].cut_us, -1 if stream.has_voice else begin_us)
        views[modality] = replace(tracks[modality], cut_us=cut, present=held.present, poor_hops=held.poor_hops)
    return views


def withheld(track: ModalityTrack, reason: str) -> Presence:
    """Presence of a modality that is somebody else's; of a blocked sensor, that it is."""
    return Presence(*track.blocked, 0) if track.blocked is not None else Presence("absent", reason, 0)


def people_message(company: Company, outputs: Mapping[str, Pending], tick_us: int, mask_epoch: int) -> People:
    """``people`` at a tick. ``outputs``: the newest windows of each stream."""
    return People(
        people=tuple(
            PersonInView(
                person=name,
                since_us=p.since_us,
                box=p.box,
                speaking="unknown" if p.masked else speaking.speaking(company.voice, name),
                combination=outputs[name].combination if name in outputs else combination_of(set()),
                focus=name == company.focus,
                masked=p.masked,
            )
            for name, p in company.persons.items()
        ),
        voice=_heard(company),
        biometric=bool(company.persons) or company.voice.is_heard,
        mask_epoch=mask_epoch,
    )


def _heard(company: Company) -> str | None:
    if not company.voice.is_heard:
        return None
    return company.voice.owner or (OFF_SCREEN if not company.persons else "unbound")
