"""Who is masked alone, as it is asked for and saved. No I/O. On doubt it is everybody.

A number of a person ("p2") means something in one life of the process that follows faces only. So a mask of persons
becomes one of everybody in view as soon as that life has ended, and nobody but a key, the button or root lifts it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

EVERYBODY: Final = "all"
# More than a home has: beyond it everybody is masked, which is never less.
MOST_PERSONS: Final = 64
ANEW: Final = "; faces are followed anew since, so nobody can tell who was masked"
NUMBER = re.compile(r"p[1-9][0-9]{0,8}")


class PeopleAsked(Struct, frozen=True):
    """``persons`` of the life ``boot`` of the process that follows faces, or ``everybody``; ``by`` is the reason.

    ``local``: only the local button or root on this host lifts it. ``mask_epoch``: of the last change; 0: never any.
    """

    persons: tuple[str, ...] = ()
    boot: str = ""
    everybody: bool = False
    by: str = ""
    local: bool = False
    mask_epoch: int = 0

    @property
    def holds(self) -> bool:
        return self.everybody or bool(self.persons)

    @property
    def named(self) -> tuple[str, ...]:
        return (EVERYBODY,) if self.everybody else self.persons

    def covers(self, other: PeopleAsked) -> bool:
        """Whether it masks at least whom ``other`` does, and is lifted no more easily."""
        if self.local < other.local:
            return False
        if self.everybody or not other.holds:
            return True
        return not other.everybody and self.boot == other.boot and set(self.persons) >= set(other.persons)


def fault_of(persons: Collection[str]) -> str:
    """Why these name no persons; empty when they do."""
    if wrong := [p for p in persons if p != EVERYBODY and not NUMBER.fullmatch(p)]:
        return f"{wrong[0][:20]!r} is no person in view: name them as edge-mer status and the page do (p2), or all"
    return ""


def merged(one: Collection[str], other: Collection[str]) -> tuple[str, ...]:
    """Both, in the order of their numbers; too many are everybody."""
    found = {*one, *other}
    if EVERYBODY in found or len(found) > MOST_PERSONS:
        return (EVERYBODY,)
    return tuple(sorted(found, key=lambda person: (len(person), person)))


def everybody(asked: PeopleAsked, by: str, local: bool = False) -> PeopleAsked:
    return PeopleAsked((), "", True, by, asked.local or local, asked.mask_epoch)


def masked(asked: PeopleAsked, persons: Collection[str], boot: str | None, by: str) -> PeopleAsked:
    """``boot``: the life that the numbers belong to; None where no process follows faces, so they tell nothing."""
    if asked.everybody:
        return asked
    found = merged(asked.persons, persons)
    if found == (EVERYBODY,):
        return everybody(asked, by)
    if boot is None:
        return everybody(asked, f"{by}, while no process followed faces: nobody can tell who that is")
    if asked.persons and asked.boot != boot:
        return in_life(asked, boot)
    if found == asked.persons:
        return asked
    return msgspec.structs.replace(asked, persons=found, boot=boot, by=by)


def doubted(asked: PeopleAsked) -> PeopleAsked:
    """What is asked when the numbers mean nothing any more, or an order is known that was forgotten here."""
    return asked if asked.everybody else everybody(asked, f"{asked.by or 'masked before'}{ANEW}")


def in_life(asked: PeopleAsked, boot: str | None) -> PeopleAsked:
    """What is asked while ``boot`` is the process that follows faces, None for none."""
    if not asked.persons or asked.boot == boot:
        return asked
    return doubted(asked)


def refusal(asked: PeopleAsked, persons: Collection[str], lifts_local: bool) -> str:
    """Why these may not be unmasked; empty when they may."""
    if asked.local and not lifts_local:
        return f"everybody in view is {asked.by}"
    if EVERYBODY in persons:
        return ""
    if asked.everybody:
        return "everybody in view is masked, so no single person can be unmasked: edge-mer unmask person all"
    if unknown := [p for p in persons if p not in asked.persons]:
        names = ", ".join(asked.persons) or "nobody"
        return (
            f"{', '.join(unknown)} is not masked by this number (masked: {names}); whoever appears where a masked "
            "person was lost, or touches one, is masked with them"
        )
    return ""


def unmasked(asked: PeopleAsked, persons: Collection[str]) -> PeopleAsked:
    left = () if EVERYBODY in persons else tuple(p for p in asked.persons if p not in persons)
    return PeopleAsked(left, asked.boot if left else "", False, asked.by if left else "", False, asked.mask_epoch)
