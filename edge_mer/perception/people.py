"""Several people in view: up to ``most`` faces, each with a track, a context, reasons and a token of its own.

Beside one face this is ``FaceEncoder`` with the same tokens. One person's rows depend on pixels of that person and on
where the others are, not on how they look: each face is looked at from its own track, the others painted over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.people import MouthOpening, SeenPerson
from edge_mer.perception.appearance import Appearance, appearance, unlike
from edge_mer.perception.crop import painted
from edge_mer.perception.detect import Box, Face, FaceDetector, Image
from edge_mer.perception.encoder import Encoder, EncoderSpec, Tokens, VideoFrame, named, no_tokens
from edge_mer.perception.face import LOST_US, SAME_FACE, SLOT_US, FaceEncoder, checked, overlap, unreadable
from edge_mer.perception.masks import inherited, masks_of_slot, without_gone
from edge_mer.perception.mouth import first_view, next_view
from edge_mer.perception.person import PeopleState, Person, blanked
from edge_mer.perception.stillness import watched
from edge_mer.perception.tracks import FACES, KEPT, MISS, Track, apart, assign, gate

MOST: Final = 4
# Two people differ by more in all of 16 x 15 / 2 pairs; of looks 0.2 s apart at one face 0.98 differ by less.
OTHER_FACE: Final = 0.19
# Of two faces that could be the one of a track, being unlike weighs as much as being so many widths away, at most one.
WEIGHT: Final = 3.0
# A near look begins at the expected place if the glance is so near to it, in widths of the face.
NEAR: Final = 0.35
# Faces nearer than this, in widths, may cover each other: what looks unlike then is decided once they are apart.
BESIDE: Final = 1.1


class PeopleEncoder:
    """Fold of frames into tokens of up to ``most`` people, with the detector and the graph of ``face``.

    At the first frame of each 200 ms slot: a row for everybody who is followed and not masked, in the order of their
    numbers; one row that is not valid where there is nobody. ``Tokens.people`` says whose row is which.
    """

    def __init__(self, face: FaceEncoder, most: int = MOST) -> None:
        self._face, self._most = face, most
        self._detector: FaceDetector = face.detector
        self.spec: EncoderSpec = replace(face.spec, name=named(face.spec.name, most))

    def initial(self) -> PeopleState:
        return PeopleState()

    def wants(self, state: PeopleState, origin_us: int) -> bool:
        """Whether a frame of this time is used: one per slot, and every one for mouths while anybody is followed."""
        return bool(state.people) or _is_due(state, origin_us)

    def masked(self, state: PeopleState, persons: frozenset[str], everybody: bool = False) -> PeopleState:
        """``state`` with these people masked, or everybody, and no others. What is known of their faces is forgotten
        now; their rows say ``masked`` and where they are. A mask of before that is not named is lifted with the next
        slot, together with the masks that others inherited from it."""
        state = replace(state, asked=persons, everybody=everybody)
        places = tuple(p for p in state.places if everybody or p.owner in persons)
        people = tuple(blanked(p) if state.is_asked(p) else p for p in state.people)
        return replace(state, people=people, places=places)

    def step(self, state: PeopleState, block: VideoFrame) -> tuple[PeopleState, Tokens]:
        image, now = checked(block.image), block.origin_us
        if not _is_due(state, now):
            moved = tuple(_with_mouth(p, image, now) for p in state.people)
            return replace(state, people=moved), no_tokens(self.spec.dim)
        is_first, context = state.slot is None, state.context
        state = without_gone(replace(state, slot=now // SLOT_US), now)
        state = self._followed(masks_of_slot(state, now, _size(image)), image, now)
        rows: list[NDArray[np.float32]] = []
        valid: list[bool] = []
        seen: list[SeenPerson] = []
        people: list[Person] = []
        for person in state.people:
            person, row = self._read(image, _with_mouth(person, image, now, is_near=True))
            people.append(replace(person, openings=(), shown=person.blank))
            seen.append(_row(person, None if row is None else len(rows), _size(image)))
            if row is not None:
                rows.append(row)
                valid.append(not person.reason)
        reason = "" if any(valid) else _largest_reason(people)
        state = replace(state, people=tuple(people), reason=reason)
        if not rows:
            rows, valid = [np.zeros((1, self.spec.dim), np.float32)], [False]
        times = np.full(len(rows), now, np.int64)
        return state, Tokens(
            values=np.concatenate(rows),
            start_us=times,
            end_us=times.copy(),
            valid=np.array(valid),
            context=state.context,
            cut=is_first or state.context != context,
            people=tuple(seen),
        )

    def _read(self, image: Image, person: Person) -> tuple[Person, NDArray[np.float32] | None]:
        """``person`` and the row of this slot; none for a masked one."""
        if person.blank:
            return person, None
        nothing, face = np.zeros((1, self.spec.dim), np.float32), person.track.face
        if person.reason:
            return person, nothing
        if reason := unreadable(image, face):
            return replace(person, reason=reason), nothing
        token = self._face.read(image, face)
        return (replace(person, reason="covered or dark"), nothing) if token is None else (person, token)

    def _followed(self, state: PeopleState, image: Image, now_us: int) -> PeopleState:
        """``state`` after this picture: who is where, who came, who went."""
        faces, state = self._faces(state, image, now_us)
        looks = [appearance(image, face) for face in faces]
        costs = [[_cost(p.track, f, look, now_us) for f, look in zip(faces, looks, strict=True)] for p in state.people]
        chosen = assign(costs)
        people: list[Person] = []
        for person, column in zip(state.people, chosen, strict=True):
            others = [p.track.expected(now_us) for p in state.people if p is not person]
            face = None if column is None else self._exact(image, person, faces[column], others, now_us)
            found, state = self._met(state, image, person, face, others, now_us)
            people += found
        new = [f for i, f in enumerate(faces) if i not in chosen]
        return self._welcomed(replace(state, people=tuple(people)), image, new, now_us)

    def _faces(self, state: PeopleState, image: Image, now_us: int) -> tuple[list[Face], PeopleState]:
        """At a glance; where it misses somebody, there again; where nobody is found, one part of a search."""
        faces = self._detector.detect(image)[:FACES]
        for person in state.people:
            track = person.track
            missed = not any(gate(track.expected(now_us), f.box, now_us - track.seen_us) for f in faces)
            if missed and not person.blank and now_us - track.seen_us <= LOST_US:
                kept = self._detector.again(image, track.face)
                if kept is not None and not any(overlap(kept.box, f.box) >= SAME_FACE for f in faces):
                    faces.append(kept)
        if not faces:
            faces = self._detector.scan(image, state.looks)[:FACES]
            state = replace(state, looks=state.looks + 1)
        return faces, state

    def _exact(self, image: Image, person: Person, face: Face, others: Sequence[Box], now_us: int) -> Face | None:
        """The face from near. With others in view the look begins at the person's own track, so that what the glance
        makes of the others changes nothing; a masked face is not looked at."""
        if person.blank:
            return Face(face.box)
        track = person.track
        roll = (track.face if now_us - track.seen_us <= LOST_US else face).pose.roll
        if not others:
            return self._detector.closer(image, face, roll)
        alone = painted(image, track.expected(now_us), others)
        if apart(track.expected(now_us), face.box) < NEAR:
            found = self._detector.closer(alone, Face(track.expected(now_us), track.face.points), roll)
            if found is not None:
                return found
        return self._detector.closer(alone, face, roll)

    def _met(
        self, state: PeopleState, image: Image, person: Person, face: Face | None, others: Sequence[Box], now_us: int
    ) -> tuple[tuple[Person, ...], PeopleState]:
        """``person`` after ``face`` was found in their place, or none; somebody new where it is another face."""
        if face is None:
            return (replace(person, reason="no face"),), state
        track = person.track
        context = now_us if now_us - track.seen_us > LOST_US else track.context
        state = replace(state, context=max(state.context, context))
        if person.blank:
            return (replace(person, track=replace(track.seen(face, now_us), context=context)),), state
        look = appearance(painted(image, face.box, others) if others else image, face)
        if track.unlike(look) > OTHER_FACE:
            is_open = any(apart(face.box, box) < BESIDE for box in others)
            if is_open or track.doubt is None or unlike(look, track.doubt) > OTHER_FACE:
                track = replace(track.seen(face, now_us), context=context, doubt=None if is_open else look)
                return (replace(person, track=track, reason="unbound"),), state
            return self._new(state, image, face, now_us, look)
        track = replace(track.seen(face, now_us), context=context, looks=(*track.looks, look)[-KEPT:], doubt=None)
        still = watched(person.still, image, face.box, now_us)
        reason = "still picture" if still.is_picture(now_us) else ""
        return (replace(person, track=track, still=still, reason=reason),), state

    def _welcomed(self, state: PeopleState, image: Image, new: Sequence[Face], now_us: int) -> PeopleState:
        """Somebody new for each face that nobody has; beside others only when it was seen there before."""
        seen = [p.track.face.box for p in state.people if p.track.seen_us == now_us]
        new = [f for f in new if not any(overlap(f.box, box) >= SAME_FACE for box in seen)]
        known = not state.people
        for face in new:
            confirmed = known or any(overlap(face.box, box) >= SAME_FACE for box in state.candidates)
            if not confirmed or len(state.people) >= self._most:
                continue
            born, state = self._new(state, image, face, now_us)
            state = replace(state, people=(*state.people, *born))
        return replace(state, candidates=tuple(f.box for f in new))

    def _new(
        self, state: PeopleState, image: Image, face: Face, now_us: int, look: Appearance | None = None
    ) -> tuple[tuple[Person, ...], PeopleState]:
        """Somebody new where a look from near confirms the face; masked and not looked at where a mask is inherited."""
        name, size = f"p{state.born + 1}", _size(image)
        after = replace(state, born=state.born + 1, context=max(state.context, now_us))
        owner = inherited(state, name, face.box, now_us, size)
        if owner is not None:
            return (blanked(Person(Track(name, now_us, face, now_us), owner=owner)),), after
        exact = face if look is not None else self._detector.closer(image, face, face.pose.roll)
        if exact is None:
            return (), state
        look = appearance(image, exact) if look is None else look
        return (Person(Track(name, now_us, exact, now_us, looks=(look,))),), after


def following(encoder: Encoder[Any, Any], people: int) -> Encoder[Any, Any]:
    """``encoder`` for several people, where it is one of faces; any other as it is."""
    return PeopleEncoder(encoder, people) if isinstance(encoder, FaceEncoder) else encoder


def _cost(track: Track, face: Face, look: Appearance, now_us: int) -> float:
    """Of ``face`` being the one of ``track``: how far it is from where that should be, and how unlike."""
    where = track.expected(now_us)
    if not gate(where, face.box, now_us - track.seen_us):
        return MISS
    return apart(where, face.box) + min(WEIGHT * track.unlike(look), 1.0)


def _with_mouth(person: Person, image: Image, now_us: int, is_near: bool = False) -> Person:
    """``person`` with one opening more; ``is_near``: the landmarks are of this picture."""
    points = person.track.face.points
    if person.blank or person.reason in ("no face", "unbound") or points is None:
        return replace(person, mouth=None)
    if person.mouth is None:
        return replace(person, mouth=first_view(image, points)) if is_near else person
    view, moved = next_view(image, person.mouth, points if is_near else None)
    return replace(person, mouth=view, openings=(*person.openings, MouthOpening(now_us, round(moved, 4))))


def _row(person: Person, token: int | None, size: tuple[int, int]) -> SeenPerson:
    left, top, width, height = person.track.face.box
    box = left / size[0], top / size[1], width / size[0], height / size[1]
    if person.blank:
        return SeenPerson(person.name, person.track.context, None, box, masked=True)
    pose = person.track.face.pose
    return SeenPerson(
        person.name,
        person.track.context,
        token,
        box,
        pose.yaw,
        pose.pitch,
        pose.roll,
        person.openings,
        person.reason or None,
    )


def _largest_reason(people: Sequence[Person]) -> str:
    if not people:
        return "no face"
    return max(people, key=lambda p: p.track.face.box[2]).reason


def _size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _is_due(state: PeopleState, origin_us: int) -> bool:
    return state.slot is None or origin_us // SLOT_US > state.slot
