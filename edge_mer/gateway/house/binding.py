"""Which room a voice belongs to: one event per utterance, in however many rooms it is heard. A pure fold.

Each room gives the level of voice in tenths of a second. An utterance of one room is a *piece*. Pieces of different
rooms are of one voice when they overlap and their levels rise and fall together (Pearson correlation, within the lag
that clocks and sound allow). Pieces of one voice form a *group*; once no room can add to it, it becomes one
``HeardVoice``: the loudest room is the nearest. Rooms about as loud are a tie, which is unbound.

Numbers are measured on real voices by ``edge-mer bench --only house``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import Emotion
from edge_mer.contract.house import VOICE_STEP_US, HeardVoice

# In steps of 0.1 s. A pause that ends an utterance; the shortest one; how long the others are waited for; the longest.
GAP, SHORTEST, WAIT, LONGEST = 6, 3, 25, 150
# How long what was said stays known, so that late pieces of it are no second event.
KEPT = 150
# Sound is up to this late in another room, and frames are not aligned; the clocks' uncertainty comes on top.
LAG, MOST_LAG = 2, 10
# Fewer common steps than ENOUGH prove nothing by correlation. R_LEAST, R_CHANCE: r of n steps is not chance (R_CHANCE /
# sqrt(n), about two standard deviations).
ENOUGH, R_LEAST, R_CHANCE = 8, 0.5, 2.2
# One that is quieter by SHADOW_DB is most likely the same voice through a wall: R_SHADOW is enough, and it takes
# ENOUGH_SHADOW steps to tell that it is not.
SHADOW_DB, R_SHADOW, ENOUGH_SHADOW = 6.0, 0.1, 20
# Share of the shorter of two short pieces that must overlap.
SHARED = 0.5
# Rooms whose levels differ by less are a tie.
TIE_DB = 3.0
# Level of an utterance in a room: this percentile of its steps, which hardly depends on where the detector cuts.
LOUD = 80
TIE = "heard equally loud in {rooms}"


@dataclass(frozen=True, slots=True)
class Levels:
    """A message ``voice`` on the house's time: ``step`` is the first of its tenths of a second."""

    room: str
    step: int
    levels: tuple[int | None, ...]
    lag: int


@dataclass(frozen=True, slots=True)
class RoomEstimate:
    """The first publication of an estimate that used the voice."""

    room: str
    step: int
    label: Emotion | None


@dataclass(frozen=True, slots=True)
class Purged:
    """The microphone of a room was masked: everything of it is forgotten."""

    room: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Steps ``start`` to ``end``, both included."""

    room: str
    start: int
    end: int


@dataclass
class Track:
    """Levels of one room by step; ``open``: where an utterance began that has not ended."""

    levels: dict[int, int] = field(default_factory=dict)
    heard_to: int = -1
    open: int | None = None
    last: int = -1
    lag: int = LAG
    labels: dict[int, Emotion | None] = field(default_factory=dict)

    def between(self, start: int, end: int) -> list[int]:
        return [self.levels[s] for s in range(start, end + 1) if s in self.levels]


@dataclass
class Group:
    """``is_cut``: it is long, and complete with what it has. ``done``: its event was given."""

    pieces: list[Piece]
    is_cut: bool = False
    done: bool = False

    @property
    def start(self) -> int:
        return min(p.start for p in self.pieces)

    @property
    def end(self) -> int:
        return max(p.end for p in self.pieces)


Input = Levels | RoomEstimate | Purged


class Binding:
    """``step`` folds the inputs of one tick, in order, and gives the utterances that are complete."""

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}
        self._groups: list[Group] = []

    def step(self, now: int, inputs: tuple[Input, ...]) -> tuple[HeardVoice, ...]:
        """``now``: the tick's time in steps."""
        for item in inputs:
            if isinstance(item, Purged):
                self._purge(item.room)
            elif isinstance(item, RoomEstimate):
                self._track(item.room).labels[item.step] = item.label
            else:
                self._hear(item)
        self._cut_long(now)
        found = tuple(self._bound(g) for g in self._groups if not g.done and self._is_complete(g, now))
        self._forget(now)
        return found

    def nearest(self, room: str, start_us: int, end_us: int) -> str | None:
        """For an event of ``room``: the room that its voice belongs to, as far as one is known already.

        ``room`` itself where no other room has heard that voice, None where it is unbound.
        """
        first, last = start_us // VOICE_STEP_US, end_us // VOICE_STEP_US
        for group in self._groups:
            if any(p.room == room and p.start <= last and first <= p.end for p in group.pieces):
                return self._loudest(group)[0]
        return room

    def _track(self, room: str) -> Track:
        return self._tracks.setdefault(room, Track())

    def _hear(self, item: Levels) -> None:
        track = self._track(item.room)
        track.lag = min(item.lag, MOST_LAG)
        for step, level in enumerate(item.levels, item.step):
            if step <= track.heard_to:
                continue  # repeated, or the room's time went back
            track.heard_to = step
            if track.open is not None and step - track.last > GAP:
                self._close(item.room, track)
            if level is not None:
                track.levels[step] = level
                track.last = step
                track.open = step if track.open is None else track.open

    def _close(self, room: str, track: Track) -> None:
        """An utterance has ended: it is of a voice that is known, of several that turn out to be one, or a new one."""
        assert track.open is not None
        piece, track.open = Piece(room, track.open, track.last), None
        same = [g for g in self._groups if any(self._same_voice(piece, p) for p in g.pieces)]
        if piece.end - piece.start + 1 < SHORTEST and not same:
            return
        first = next((g for g in same if g.done), None)
        if first is None:
            first = Group([])
            for group in same:
                first.pieces += group.pieces
            self._groups = [*(g for g in self._groups if g not in same), first]
        first.pieces.append(piece)

    def _same_voice(self, a: Piece, b: Piece) -> bool:
        if a.room == b.room:
            return False
        x, y = self._tracks[a.room], self._tracks[b.room]
        most = max(x.lag, y.lag)
        shared = min(a.end, b.end) - max(a.start, b.start) + 1
        if shared + most <= 0:
            return False
        pairs = [_pairs(x, y, a, b, lag) for lag in range(-most, most + 1)]
        most_pairs = np.array(max(pairs, key=len), np.float64)
        least = ENOUGH_SHADOW if _is_shadow(most_pairs) else ENOUGH
        enough = [np.array(p, np.float64) for p in pairs if len(p) >= least]
        if not enough:
            return shared >= SHARED * min(a.end - a.start + 1, b.end - b.start + 1)
        return any(_together(p) for p in enough)

    def _is_complete(self, group: Group, now: int) -> bool:
        if group.is_cut:
            return True
        start, end = group.start, group.end
        if now - end > WAIT:
            return not any(self._is_heard_in(t, start, end) for t in self._tracks.values())
        waited = GAP + max(t.lag for t in self._tracks.values()) + 1
        return all(t.heard_to >= end + waited and not self._is_heard_in(t, start, end) for t in self._tracks.values())

    def _is_heard_in(self, track: Track, start: int, end: int) -> bool:
        """Whether an utterance that has not ended may be of this voice; one whose room has gone silent is over."""
        return track.open is not None and track.open <= end + track.lag and track.last >= start - track.lag

    def _cut_long(self, now: int) -> None:
        """Speech without a pause is cut everywhere at once, so that no room has a piece of both parts."""
        begun = [t.open for t in self._tracks.values() if t.open is not None]
        waiting = [g.start for g in self._groups if not g.done]
        is_long = any(now - start > LONGEST for start in (*begun, *waiting))
        for room, track in self._tracks.items():
            if track.open is not None and (is_long or now - track.last > GAP + WAIT):
                self._close(room, track)
        for group in self._groups:
            group.is_cut |= is_long

    def _loudest(self, group: Group) -> tuple[str | None, dict[str, int]]:
        """The nearest room, None for a tie, and the level in each room."""
        found: dict[str, list[int]] = {}
        for p in group.pieces:
            found.setdefault(p.room, []).extend(self._tracks[p.room].between(p.start, p.end))
        levels = {room: float(np.percentile(values, LOUD)) for room, values in found.items() if values}
        ranked = sorted(levels, key=lambda room: (-levels[room], room))
        tied = len(ranked) > 1 and levels[ranked[0]] - levels[ranked[1]] < TIE_DB
        return None if tied or not ranked else ranked[0], {room: round(levels[room]) for room in ranked}

    def _bound(self, group: Group) -> HeardVoice:
        group.done = True
        room, levels = self._loudest(group)
        tied = ", ".join(n for n in levels if levels[n] > max(levels.values()) - TIE_DB)
        labels = self._tracks[room].labels if room is not None else {}
        during = [s for s in sorted(labels) if group.start <= s <= group.end + WAIT and labels[s] is not None]
        lag = max((self._tracks[p.room].lag for p in group.pieces), default=LAG) - LAG
        return HeardVoice(
            room=room,
            unbound=None if room is not None else TIE.format(rooms=tied),
            start_us=group.start * VOICE_STEP_US,
            end_us=(group.end + 1) * VOICE_STEP_US,
            uncertainty_us=(lag + 1) * VOICE_STEP_US,
            levels=levels,
            label=labels[during[-1]] if during else None,
        )

    def _purge(self, room: str) -> None:
        self._tracks.pop(room, None)
        for group in self._groups:
            group.pieces = [p for p in group.pieces if p.room != room]
        self._groups = [g for g in self._groups if g.pieces]

    def _forget(self, now: int) -> None:
        self._groups = [g for g in self._groups if not g.done or now - g.end <= KEPT]
        oldest = min([now - KEPT, *(g.start for g in self._groups)]) - MOST_LAG
        for room, track in list(self._tracks.items()):
            begun = oldest if track.open is None else min(oldest, track.open)
            track.levels = {s: v for s, v in track.levels.items() if s >= begun}
            track.labels = {s: v for s, v in track.labels.items() if s >= oldest}
            if track.heard_to < oldest and not track.levels:
                del self._tracks[room]


def _pairs(x: Track, y: Track, a: Piece, b: Piece, lag: int) -> list[tuple[int, int]]:
    """Levels of both rooms at the same time, where ``b`` is ``lag`` steps late."""
    steps = range(max(a.start, b.start - lag), min(a.end, b.end - lag) + 1)
    return [(x.levels[s], y.levels[s + lag]) for s in steps if s in x.levels and s + lag in y.levels]


def _is_shadow(pairs: NDArray[np.float64]) -> bool:
    """Whether one room is so much quieter that it most likely hears the other's voice."""
    return len(pairs) > 0 and abs(float((pairs[:, 0] - pairs[:, 1]).mean())) >= SHADOW_DB


def _together(pairs: NDArray[np.float64]) -> bool:
    spread = pairs.std(axis=0)
    if not spread.all():
        return True  # a level that does not move tells nothing: on doubt it is one voice
    mean = pairs.mean(axis=0)
    r = float(((pairs - mean) / spread).prod(axis=1).mean())
    least = R_SHADOW if _is_shadow(pairs) else max(R_LEAST, R_CHANCE / len(pairs) ** 0.5)
    return bool(r >= least)
