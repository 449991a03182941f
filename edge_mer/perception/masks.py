"""Which faces a person's mask covers: those asked for, and whoever could be one of them. Closed on doubt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edge_mer.perception.crop import grown
from edge_mer.perception.detect import Box
from edge_mer.perception.tracks import apart

# How far a lost person may have gone, in widths of their face: at once, and for every second.
AT_ONCE, PER_SECOND = 3.0, 2.0
# Two faces this near, in widths of a face, may be confused.
CONTACT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the face of a masked person was lost at ``lost_us``. ``owner``: the person whom the mask was asked for."""

    owner: str
    box: Box
    lost_us: int

    def covers(self, box: Box, now_us: int, size: tuple[int, int]) -> bool:
        """Whether a new face at ``box`` could be that person; ``size``: width and height of the picture. One who was
        lost at its edge may come back anywhere."""
        left, top, width, height = grown(self.box, 2.0)
        if left <= 0 or top <= 0 or left + width >= size[0] or top + height >= size[1]:
            return True
        return apart(self.box, box) <= AT_ONCE + PER_SECOND * (now_us - self.lost_us) / 1e6


def owner_of(places: Iterable[Place], box: Box, now_us: int, size: tuple[int, int]) -> str | None:
    """Whose mask a new face inherits, or nobody's."""
    return next((place.owner for place in places if place.covers(box, now_us, size)), None)


def touches(one: Box, other: Box) -> bool:
    return apart(one, other) <= CONTACT
