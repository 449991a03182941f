"""The state of the fold that follows several people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_mer.contract.people import MouthOpening
from edge_mer.perception.detect import Box, Face
from edge_mer.perception.mouth import MouthView
from edge_mer.perception.stillness import Stillness
from edge_mer.perception.tracks import Track


@dataclass(frozen=True, slots=True)
class Place:
    """Where the face of a masked person was lost at ``lost_us``. ``owner``: the person whom the mask was asked for."""

    owner: str
    box: Box
    lost_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in view. ``reason``: why the last token is not valid.

    ``owner``: the person whose mask this one inherited. ``blank``: everything but the place is forgotten, because of a
    mask; ``shown``: a feature has said so. A mask is lifted only after that, so that a replay can see every mask.
    """

    track: Track
    reason: str = ""
    owner: str | None = None
    blank: bool = False
    shown: bool = False
    still: Stillness | None = None
    mouth: MouthView | None = None
    openings: tuple[MouthOpening, ...] = ()

    @property
    def name(self) -> str:
        return self.track.person


@dataclass(frozen=True, slots=True, eq=False)
class PeopleState:
    """``born`` counts the people so far. ``candidates``: faces that were seen once, beside somebody.

    ``asked``: people to be masked, or ``everybody``; ``places``: where masked people were lost. ``context`` is the
    newest context of anybody; ``looks`` as in FaceState.
    """

    slot: int | None = None
    people: tuple[Person, ...] = ()
    born: int = 0
    candidates: tuple[Box, ...] = ()
    looks: int = 0
    asked: frozenset[str] = frozenset()
    everybody: bool = False
    places: tuple[Place, ...] = ()
    context: int = 0
    reason: str = "no face"

    def is_asked(self, person: Person) -> bool:
        return self.everybody or person.name in self.asked or person.owner in self.asked


def blanked(person: Person) -> Person:
    """``person`` without anything but the place."""
    if person.blank:
        return person
    track = replace(person.track, face=Face(person.track.face.box), looks=(), doubt=None)
    return Person(track, reason="masked", owner=person.owner, blank=True)
