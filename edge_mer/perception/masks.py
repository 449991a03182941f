"""Which faces a person's mask covers: those asked for, and whoever could be one of them. Closed on doubt.

Decided before the picture of a slot is looked at, from where everybody was, so that a masked face is never looked at
from near; and for somebody new from where masked people were lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edge_mer.perception.crop import grown
from edge_mer.perception.detect import Box
from edge_mer.perception.face import LOST_US
from edge_mer.perception.person import PeopleState, Person, Place, blanked
from edge_mer.perception.tracks import GONE_US, apart

# How far a lost person may have gone, in widths of their face: at once, and for every second.
AT_ONCE, PER_SECOND = 3.0, 2.0
# Two faces this near, in widths of a face, may be confused.
CONTACT: Final = 1.5


def without_gone(state: PeopleState, now_us: int) -> PeopleState:
    """Who was not seen for two seconds is gone; of a masked person the place stays."""
    gone = [p for p in state.people if now_us - p.track.seen_us > GONE_US]
    places = [_place(p) for p in gone if state.is_asked(p)]
    return replace(state, people=tuple(p for p in state.people if p not in gone), places=(*state.places, *places))


def masks_of_slot(state: PeopleState, now_us: int, size: tuple[int, int]) -> PeopleState:
    """``state`` with the masks of this slot. Who touches a person whose mask a feature has shown, or was out of sight
    for a second where one may be, is masked, too. A mask that is not asked for any more ends once a feature has shown
    it: so a replay, which knows masks from features only, does the same."""
    people: list[Person] = []
    for person in state.people:
        if not state.is_asked(person):
            masked = [p for p in state.people if p is not person and p.shown and state.is_asked(p)]
            owner = _owner(person, masked, state, now_us, size)
            person = person if owner is None else replace(person, owner=owner)
        if state.is_asked(person):
            person = blanked(person)
        elif person.blank and person.shown:
            context = replace(person.track, context=now_us)
            person = replace(person, track=context, reason="no face", owner=None, blank=False, shown=False)
            state = replace(state, context=max(state.context, now_us))
        people.append(person)
    return replace(state, people=tuple(people))


def inherited(state: PeopleState, name: str, box: Box, now_us: int, size: tuple[int, int]) -> str | None:
    """Whose mask somebody new at ``box`` has; None for nobody's."""
    if state.everybody or name in state.asked:
        return name
    lost = [_place(p) for p in state.people if p.blank and p.track.seen_us < now_us]
    return next((place.owner for place in (*state.places, *lost) if _covers(place, box, now_us, size)), None)


def _owner(person: Person, masked: list[Person], state: PeopleState, now_us: int, size: tuple[int, int]) -> str | None:
    touching = (_place(p) for p in masked if apart(p.track.face.box, person.track.face.box) <= CONTACT)
    if (near := next(touching, None)) is not None:
        return near.owner
    if now_us - person.track.seen_us <= LOST_US:
        return None
    places = (*state.places, *(_place(p) for p in masked if now_us - p.track.seen_us > LOST_US))
    return next((p.owner for p in places if _covers(p, person.track.face.box, now_us, size)), None)


def _covers(place: Place, box: Box, now_us: int, size: tuple[int, int]) -> bool:
    """Whether a face at ``box`` could be the person who was lost there; ``size``: width and height of the picture. One
    who was lost at its edge may come back anywhere."""
    left, top, width, height = grown(place.box, 2.0)
    if left <= 0 or top <= 0 or left + width >= size[0] or top + height >= size[1]:
        return True
    return apart(place.box, box) <= AT_ONCE + PER_SECOND * (now_us - place.lost_us) / 1e6


def _place(person: Person) -> Place:
    return Place(person.owner or person.name, person.track.face.box, person.track.seen_us)
