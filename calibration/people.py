"""Several people in view: whether each keeps its number, who is missed, and what it costs.

``python -m calibration.people`` writes the section People of RESULTS.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice, pairwise
from typing import Final

import numpy as np

from calibration.people_scenes import Actor, Role, Scene, Shot, along, at, hushed
from calibration.scenes import is_hit
from edge_mer.contract.people import SeenPerson
from edge_mer.perception.detect import Box
from edge_mer.perception.people import PeopleEncoder

# A track may take so long to begin, in seconds: two looks, and the search of a part of the picture.
BEGIN_S: Final = 0.8
HEAD: Final = (
    "scenes",
    "number",
    "id on another face",
    "more ids than faces",
    "missed",
    "withheld",
    "still picture",
)


@dataclass(frozen=True, slots=True)
class Look:
    """One slot: for each role its person, None where there is none or the role is away."""

    second: float
    people: tuple[SeenPerson | None, ...]
    there: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one scene: whether an id went over to another face, ids beyond one per face, and shares of the slots in which
    a face was there: without a track, without a valid token, said to be a still picture (of frozen roles)."""

    kind: str
    switched: bool
    extra: int
    missed: float
    withheld: float
    still: float | None


def crossings(actors: Sequence[Actor]) -> Iterator[Scene]:
    """Two people pass each other: at several speeds and distances, the nearer one covering the other."""
    ways = [(0.30, 0.34, 3.0, 0.0), (0.26, 0.26, 2.0, 0.03), (0.22, 0.30, 4.0, 0.06), (0.34, 0.28, 1.6, 0.02)]
    for seed, ((one, other), (far, near, seconds, lower)) in enumerate(
        zip(combinations(actors, 2), cycle(ways), strict=False)
    ):
        there = along([(1, 0.2, 0.5, far), (1 + seconds, 0.8, 0.5, far)])
        back = along([(1, 0.8, 0.5 + lower, near), (1 + seconds, 0.2, 0.5 + lower, near)])
        roles = Role(one, there), Role(other, back)
        yield Scene(f"{one.name} x {other.name}", "crossing", seconds + 2.5, roles, seed=seed)


def turnings(actors: Sequence[Actor]) -> Iterator[Scene]:
    """Two people meet and go back where they came from."""
    for seed, (one, other) in enumerate(pairwise(actors)):
        left = along([(1, 0.2, 0.5, 0.28), (2.5, 0.44, 0.5, 0.28), (4, 0.2, 0.5, 0.28)])
        right = along([(1, 0.8, 0.52, 0.3), (2.5, 0.56, 0.52, 0.3), (4, 0.8, 0.52, 0.3)])
        yield Scene(one.name, "meeting and turning back", 5, (Role(one, left), Role(other, right)), seed=seed)


def swaps(actors: Sequence[Actor]) -> Iterator[Scene]:
    """Another face in the same place, from one picture to the next; a second person looks on."""
    for seed, (one, other) in enumerate(pairwise(actors)):
        third = actors[(seed + 5) % len(actors)]
        roles = Role(one, at(0.3), end=2.0), Role(other, at(0.3), begin=2.0), Role(third, at(0.75, 0.5, 0.25))
        yield Scene(one.name, "swap in place", 4, roles, seed=seed)


def returns(actors: Sequence[Actor], away: float) -> Iterator[Scene]:
    """One person leaves and comes back."""
    for seed, (one, other) in enumerate(pairwise(actors)):
        roles = Role(one, at(0.3), end=2.0), Role(one, at(0.3), begin=2.0 + away), Role(other, at(0.75))
        yield Scene(one.name, f"away for {away:.0f} s", 4 + away, roles, seed=seed)


def rows_of(actors: Sequence[Actor], count: int) -> Iterator[Scene]:
    """People beside each other."""
    for seed in range(0, len(actors), 2):
        chosen = list(islice(cycle((*actors[seed:], *actors[:seed])), count))
        roles = tuple(Role(a, at((i + 1) / (count + 1), 0.5, 0.9 / (count + 1))) for i, a in enumerate(chosen))
        yield Scene(chosen[0].name, f"{count} people beside each other", 4, roles, seed=seed)


def pictures(actors: Sequence[Actor], frames: Sequence[Actor]) -> Iterator[Scene]:
    """A photograph on the wall, beside somebody; and somebody in a mirror."""
    for seed, (one, frame) in enumerate(zip(actors, cycle(frames), strict=False)):
        yield Scene(
            one.name, "photograph", 10, (Role(frame, at(0.7, 0.45, 0.25), frozen=True), Role(one, at(0.3))), seed=seed
        )


def quiet_sitters(actors: Sequence[Actor]) -> Iterator[Scene]:
    """People who sit still: of each, the moments before the first word."""
    for seed, one in enumerate(actors):
        yield Scene(one.name, "somebody sits still", 10, (Role(hushed(one), at(0.5)),), seed=seed)


def looks(encoder: PeopleEncoder, scene: Scene) -> Iterator[Look]:
    """Every slot of a scene."""
    state = encoder.initial()
    for shot in scene.shots():
        state, tokens = encoder.step(state, shot.frame)
        if len(tokens) and tokens.people is not None:
            yield _look(shot, tokens.people)


def _look(shot: Shot, people: Sequence[SeenPerson]) -> Look:
    height, width = shot.frame.image.shape[:2]
    boxes = [(p.box[0] * width, p.box[1] * height, p.box[2] * width, p.box[3] * height) for p in people]
    owners: list[SeenPerson | None] = []
    for expected in shot.boxes:
        hits = [(_apart(box, expected), i) for i, box in enumerate(boxes) if expected and is_hit(box, expected)]
        seen = [(d, i) for d, i in hits if people[i].reason != "no face"]
        owners.append(people[min(seen)[1]] if seen else None)
    for i, one in enumerate(owners):  # a face in front of another: one person cannot be both
        for j, other in enumerate(owners):
            if i < j and one is not None and one is other:
                owners[i] = None
    return Look(shot.frame.origin_us / 1e6, tuple(owners), tuple(b is not None for b in shot.boxes))


def _apart(box: Box, expected: Box | None) -> float:
    assert expected is not None
    return abs(box[0] + box[2] / 2 - expected[0] - expected[2] / 2)


def outcome(encoder: PeopleEncoder, scene: Scene) -> Outcome:
    seen = list(looks(encoder, scene))
    names: dict[str, Counter[str]] = {role.actor.name: Counter() for role in scene.roles}
    for look in seen:
        for role, person in zip(scene.roles, look.people, strict=True):
            names[role.actor.name].update([person.person] if person else [])
    ids = [{name for name, count in counts.items() if count >= 2} for counts in names.values()]
    switched = any(a & b for a, b in combinations(ids, 2))
    began = {i: min((x.second for x in seen if x.there[i]), default=0) + BEGIN_S for i in range(len(scene.roles))}
    there = [
        (x.people[i], r.frozen) for i, r in enumerate(scene.roles) for x in seen if x.there[i] and x.second >= began[i]
    ]
    alive = [p for p, frozen in there if not frozen]
    frozen = [p for p, is_frozen in there if is_frozen and p is not None]
    return Outcome(
        scene.kind,
        switched,
        sum(len(i) - 1 for i in ids if i),
        float(np.mean([p is None for p in alive])) if alive else 0.0,
        float(np.mean([p is not None and p.reason is not None for p in alive])) if alive else 0.0,
        float(np.mean([p.reason == "still picture" for p in frozen])) if frozen else None,
    )


def summary(kind: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table."""
    return [
        kind,
        str(len(outcomes)),
        f"{np.mean([o.switched for o in outcomes]):.2f}",
        f"{np.mean([o.extra for o in outcomes]):.2f}",
        f"{np.mean([o.missed for o in outcomes]):.3f}",
        f"{np.mean([o.withheld for o in outcomes]):.3f}",
        " ",
    ]
