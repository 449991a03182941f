"""People in view: what a feature says of each, and topic ``people``.

A person is an ephemeral counter of one life of the process that follows faces ("p3"): nobody is enrolled or recognised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from edge_mer.contract.domain import Combination
from edge_mer.contract.raw import Body

Speaking: TypeAlias = Literal["speaking", "silent", "unknown"]
# The person of an estimate about a voice that belongs to no face in view.
OFF_SCREEN: Final = "voice"


class MouthOpening(Struct, frozen=True):
    """How much a mouth moved until ``at_us``, from the picture before, apart from its head: opening or closing. From 0,
    a mouth at rest about 0.05, speech 0.1 to 0.6, in units of the contrast of the upper face."""

    at_us: int
    opening: float


class SeenPerson(Struct, frozen=True):
    """One person in one feature of the camera. ``token``: the row of its payload that is this person's, null where it
    has none (a frame between two tokens, a masked person).

    ``context``: as of a feature, of this person alone. ``box``: left, top, width, height in shares of the picture.
    ``yaw``, ``pitch``, ``roll``: degrees. ``mouth``: motion since the feature before, in order of time. ``reason``:
    why the token is not valid. Of a masked person only ``person``, ``context`` and ``box`` are given.
    """

    person: str
    context: int
    token: int | None
    box: tuple[float, float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    mouth: tuple[MouthOpening, ...] = ()
    reason: str | None = None
    masked: bool = False


class MaskedPeople(Struct, frozen=True):
    """Who is masked alone, while the camera stays open: ``persons`` of the life ``boot`` of ``perception.video``, or
    ``everybody``. ``mask_epoch`` grows with every change; 0 as long as nobody was ever masked alone.

    ``reason`` is null where nobody is masked. ``unconfirmed``: why the mask has no receipt after a second.
    """

    persons: tuple[str, ...] = ()
    everybody: bool = False
    boot: str = ""
    since_us: int = 0
    mask_epoch: int = 0
    reason: str | None = None
    unconfirmed: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.everybody or bool(self.persons)


class VoiceCurve(Struct, frozen=True):
    """Loudness of a voice from ``begin_us`` on, every ``step_us``: dB below full scale, null where nobody speaks."""

    begin_us: int
    step_us: int
    levels: tuple[int | None, ...]


class PersonInView(Struct, frozen=True):
    """One person of topic ``people``: in view since ``since_us``, and what the newest estimate of them used."""

    person: str
    since_us: int
    box: tuple[float, float, float, float]
    speaking: Speaking
    combination: Combination
    focus: bool
    masked: bool = False


def in_order(people: Iterable[PersonInView]) -> list[PersonInView]:
    """As they are shown: focus first, then by their numbers."""
    return sorted(people, key=lambda p: (not p.focus, len(p.person), p.person))


class People(Body, frozen=True):
    """``people``: who is in view at ``origin_us``. ``voice``: whose voice is heard: a person, "voice" for one off
    screen, "unbound" where several could be it, null where nobody speaks."""

    people: tuple[PersonInView, ...]
    voice: str | None
    biometric: bool
    mask_epoch: int
