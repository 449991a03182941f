"""Several people in view: whether each keeps a number, who is missed, how well a mouth follows its voice, and the cost.

``python -m calibration.people`` writes the section People of RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, groupby, islice, pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import report
from calibration.people_scenes import FPS, Actor, Role, Scene, Shot, along, at, hushed, silent, still, talking
from calibration.scenes import is_hit
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.people import SeenPerson
from edge_mer.perception.detect import Box
from edge_mer.perception.encoder import SAMPLE_RATE
from edge_mer.perception.face import SLOT_US, FaceEncoder
from edge_mer.perception.people import PeopleEncoder
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import FILES, MODELS

# A track may take so long to begin, in seconds: two looks, and the search of a part of the picture.
BEGIN_S: Final = 0.8
# A voice is heard where it is at most so many dB below its loudest.
VOICED_DB: Final = 20.0
HEAD: Final = ("scenes", "number", "switched", "ids too many", "missed", "withheld", "still: people", "still: pictures")
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Look:
    """One slot: for each role its person, None where there is none or the role is away."""

    second: float
    people: tuple[SeenPerson | None, ...]
    there: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scene. ``switched``: an id went over to another face; ``extra``: ids beyond one per face. Shares of the slots
    in which a face was there: without a track, without a valid token, and said to be still pictures: those that are
    people, those that are pictures; None where there are no such."""

    kind: str
    switched: bool
    extra: int
    missed: float
    withheld: float
    still_people: float
    still_pictures: float | None


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
    """A photograph on the wall, beside somebody."""
    for seed, (one, frame) in enumerate(zip(actors, cycle(frames), strict=False)):
        roles = Role(frame, at(0.7, 0.45, 0.25), frozen=True), Role(one, at(0.3))
        yield Scene(one.name, "photograph on the wall", 10, roles, seed=seed)


def mirrors(actors: Sequence[Actor]) -> Iterator[Scene]:
    """Somebody beside their own image in a mirror, which is somebody, too: it moves."""
    for seed, one in enumerate(actors):
        roles = Role(one, at(0.7, 0.45, 0.22), mirrored=True), Role(one, at(0.3))
        yield Scene(one.name, "mirror", 4, roles, seed=seed)


def sitters(actors: Sequence[Actor]) -> Iterator[Scene]:
    """People who sit still: the moments before the first word, again and again."""
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
    names: dict[tuple[str, bool], Counter[str]] = {(role.actor.name, role.mirrored): Counter() for role in scene.roles}
    for look in seen:
        for role, person in zip(scene.roles, look.people, strict=True):
            names[role.actor.name, role.mirrored].update([person.person] if person else [])
    ids = [{name for name, count in counts.items() if count > 1} for counts in names.values()]
    people = list(_settled(seen, [i for i, r in enumerate(scene.roles) if not r.frozen]))
    walls = list(_settled(seen, [i for i, r in enumerate(scene.roles) if r.frozen]))
    return Outcome(
        kind=scene.kind,
        switched=any(one & other for one, other in combinations(ids, 2)),
        extra=sum(len(i) - 1 for i in ids if i),
        missed=float(np.mean([p is None for p in people])),
        withheld=float(np.mean([p is not None and p.reason is not None for p in people])),
        still_people=float(np.mean([p is not None and p.reason == "still picture" for p in people])),
        still_pictures=float(np.mean([p.reason == "still picture" for p in walls[-10:] if p])) if walls else None,
    )


def _settled(seen: Sequence[Look], roles: Iterable[int]) -> Iterator[SeenPerson | None]:
    """The slots of these roles, without the time in which a track may begin."""
    for i in roles:
        since = min((look.second for look in seen if look.there[i]), default=0.0) + BEGIN_S
        yield from (look.people[i] for look in seen if look.there[i] and look.second >= since)


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table."""
    walls = [o.still_pictures for o in outcomes if o.still_pictures is not None]
    counts = [float(np.mean(v)) for v in ([o.switched for o in outcomes], [o.extra for o in outcomes])]
    shares = [[o.missed for o in outcomes], [o.withheld for o in outcomes], [o.still_people for o in outcomes], walls]
    return [
        outcomes[0].kind,
        str(len(outcomes)),
        *(f"{v:.2f}" for v in counts),
        *(f"{np.mean(v):.3f}" if v else "" for v in shares),
    ]


def openings(encoder: PeopleEncoder, scene: Scene) -> list[tuple[Values, Values]]:
    """Of each role: times (s) and motion of the mouth."""
    found: list[list[tuple[float, float]]] = [[] for _ in scene.roles]
    for look in looks(encoder, scene):
        for mouth, person in zip(found, look.people, strict=True):
            mouth += [(o.at_us / SECOND, o.opening) for o in person.mouth] if person else []
    return [(np.array([t for t, _ in m]), np.array([v for _, v in m])) for m in found]


def level(sound: NDArray[np.float32], times: Values) -> Values:
    """dB of a voice around each time, over 60 ms."""
    half, out = round(0.03 * SAMPLE_RATE), []
    for second in times:
        middle = round(second * SAMPLE_RATE)
        part = sound[max(0, middle - half) : middle + half]
        out.append(10 * np.log10(float((part**2).mean()) + 1e-6) if len(part) else -60.0)
    return np.array(out)


def mouths(encoder: PeopleEncoder, actors: Sequence[Actor]) -> list[list[str]]:
    """How the motion of a mouth goes with its own voice and with that of the person beside, over 3 s."""
    own, other, voiced = [], [], []
    for one, two in pairwise(actors):
        scene = Scene(one.name, "mouths", 3, (Role(one, at(0.3)), Role(two, at(0.7))))
        for (times, moved), mine, theirs in zip(openings(encoder, scene), (one, two), (two, one), strict=True):
            if len(moved) < FPS:
                continue
            moved = np.convolve(moved, (0.25, 0.5, 0.25), "same")
            voice, wrong = (level(a.voice(3), times) for a in (mine, theirs))
            own.append(np.corrcoef(moved, voice)[0, 1])
            other.append(np.corrcoef(moved, wrong)[0, 1])
            loud = voice > voice.max() - VOICED_DB
            if 0 < loud.sum() < len(loud):
                voiced.append(float((moved[loud][:, None] > moved[~loud][None]).mean()))
    return [
        ["correlation with the own voice, mean", f"{np.mean(own):.2f}"],
        ["correlation with the voice of the person beside, mean", f"{np.mean(other):.2f}"],
        ["own voice above the other's", f"{np.mean(np.array(own) > np.array(other)):.2f}"],
        ["a frame with voice moves more than one without (area under the curve)", f"{np.mean(voiced):.2f}"],
    ]


def times(encoder: PeopleEncoder, actors: Sequence[Actor]) -> list[list[str]]:
    """Milliseconds of one thread's own CPU time, JPEG decoding included: median, and of 20 frames the slowest."""
    rows = []
    for count in (1, 2, 4):
        (scene,) = islice(rows_of(actors, count), 1)
        state = encoder.initial()
        slots: list[float] = []
        between: list[float] = []
        for shot in scene.shots():
            jpeg = cv2.imencode(".jpg", shot.frame.image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            is_slot = state.slot is None or shot.frame.origin_us // SLOT_US > state.slot
            began = time.thread_time()
            if encoder.wants(state, shot.frame.origin_us):
                cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
                state, _ = encoder.step(state, shot.frame)
            (slots if is_slot else between).append(1e3 * (time.thread_time() - began))
        spread = (f"{np.median(v):.1f} / {np.quantile(v, 0.95):.1f}" for v in (slots[3:], between[9:]))
        rows.append([str(count), *spread])
    return rows


def markdown(root: Path, models: Path, every: int) -> str:
    """The section People; of the crossings each ``every``-th pair."""
    backend = OnnxRuntime()
    finder = detector(backend, models)
    encoder = PeopleEncoder(FaceEncoder(backend.load(models / FILES["video"]), finder))
    talkers, frames = talking(root, finder), still(root, finder)
    scenes = [
        *islice(crossings(talkers), 0, None, every),
        *turnings(talkers),
        *swaps([*talkers, *silent(root, finder)]),
        *returns(talkers, 1),
        *returns(talkers, 3),
        *(scene for count in (2, 3, 4) for scene in rows_of(talkers, count)),
        *islice(pictures(talkers, frames), 6),
        *islice(mirrors(talkers), 4),
        *sitters(talkers),
    ]
    kinds = [list(group) for _, group in groupby(scenes, key=lambda scene: scene.kind)]
    rows = [summary([outcome(encoder, scene) for scene in kind]) for kind in kinds]
    return f"""`python -m calibration.people`: {len(talkers)} talking heads of different people, cut out of clips,
laid over a room (`calibration/people_scenes.py`), 640 x 360, 15 pictures a second, noise and JPEG. `switched`: scenes
in which an id goes over to another face; target 0.05. `ids too many`: per scene, beyond one for each face; somebody who
is away for 3 s is to get one. `missed`, `withheld`, `still`: shares of the slots in which a face was there, from
{BEGIN_S} s on.

{report.table(HEAD, rows)}

The motion of a mouth beside the voice, in pairs over 3 s; most clips begin to speak at the same time, so that a wrong
voice is like the right one:

{report.table(["measure", "value"], mouths(encoder, talkers))}

Milliseconds of one thread's own CPU time, decoding included, median / 95th percentile. A frame of a slot, five a
second, gives tokens; frames between measure mouths:

{report.table(["faces", "frame of a slot", "frame between"], times(encoder, talkers))}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.people",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--every", type=int, default=3, help="use every so manieth pair of people for crossings")
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section is written")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        text = markdown(arguments.data, arguments.models, arguments.every)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    report.section(arguments.report, "People", text)
    print(text)


if __name__ == "__main__":
    main()
