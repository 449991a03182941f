"""Tracks of faces: which face of a new picture is whose. Pure geometry and a small measure of appearance.

A person is a counter of one life of the encoder. What a track knows of a face is gone with the track.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge_mer.perception.appearance import Appearance, unlike
from edge_mer.perception.detect import Box, Face

# A face that was not seen for so long is gone: whoever comes then is somebody else.
GONE_US: Final = 2_000_000
# A face is found at most so many of its own widths from where it was expected, and for every second without it, and
# changes its size at most so much.
REACH, PER_SECOND, GROWTH = 0.9, 1.0, 1.8
# Motion is continued for so long; beyond, people stop and turn.
COAST_US: Final = 600_000
SMOOTH: Final = 0.5
KEPT: Final = 8
FACES: Final = 8
MISS: Final = 4.0

Velocity = tuple[float, float]
"""Of the middle of a face, in pixels per second."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """``face`` as it was last seen, at ``seen_us``; ``context``: since when the face is the same without a gap.

    ``looks``: how it looked in the last KEPT pictures, none of a masked face. ``doubt``: the look of another face that
    seemed to be in its place in the picture before.
    """

    person: str
    context: int
    face: Face
    seen_us: int
    velocity: Velocity = (0.0, 0.0)
    looks: tuple[Appearance, ...] = ()
    doubt: Appearance | None = None

    def expected(self, now_us: int) -> Box:
        """Where the face should be, by constant velocity."""
        ahead = min(now_us - self.seen_us, COAST_US) / 1e6
        left, top, width, height = self.face.box
        return left + self.velocity[0] * ahead, top + self.velocity[1] * ahead, width, height

    def unlike(self, look: Appearance) -> float:
        """How unlike every look that is kept; 0 where there is none."""
        return min((unlike(look, kept) for kept in self.looks), default=0.0)

    def seen(self, face: Face, now_us: int) -> Track:
        """The track after ``face`` was seen."""
        passed = (now_us - self.seen_us) / 1e6
        if not 0 < passed <= COAST_US / 1e6:
            return replace(self, face=face, seen_us=now_us, velocity=(0.0, 0.0))
        moved = [(new - old) / passed for new, old in zip(middle(face.box), middle(self.face.box), strict=True)]
        mixed = [SMOOTH * new + (1 - SMOOTH) * old for new, old in zip(moved, self.velocity, strict=True)]
        return replace(self, face=face, seen_us=now_us, velocity=(mixed[0], mixed[1]))


def middle(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def apart(one: Box, other: Box) -> float:
    """Distance of the middles, in mean widths of the two faces."""
    (x, y), (u, v) = middle(one), middle(other)
    return math.hypot(x - u, y - v) / max((one[2] + other[2]) / 2, 1e-6)


def gate(expected: Box, found: Box, unseen_us: int) -> bool:
    """Whether a face could have come from where it was expected to where it was found."""
    size = max(found[2], 1e-6) / max(expected[2], 1e-6)
    return apart(expected, found) <= REACH + PER_SECOND * unseen_us / 1e6 and 1 / GROWTH <= size <= GROWTH


def assign(costs: Sequence[Sequence[float]]) -> list[int | None]:
    """The column of each row, or None, so that the sum of ``costs`` is least; a row without a column costs MISS.

    Exhaustive: for at most 4 rows and FACES columns. Of equal sums the first is taken: the lower columns.
    """
    best_cost = math.inf
    best: list[int | None] = [None] * len(costs)

    def go(row: int, taken: int, total: float, chosen: list[int | None]) -> None:
        nonlocal best_cost, best
        if total >= best_cost:
            return
        if row == len(costs):
            best_cost, best = total, chosen
            return
        for column, cost in enumerate(costs[row]):
            if cost < MISS and not taken >> column & 1:
                go(row + 1, taken | 1 << column, total + cost, [*chosen, column])
        go(row + 1, taken, total + MISS, [*chosen, None])

    go(0, 0, 0.0, [])
    return best
