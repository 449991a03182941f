"""Scenes of several people, and what is counted of them."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.people import level, outcome, summary
from calibration.people_scenes import FPS, Actor, Role, Scene, along, at, hushed
from edge_mer.contract.people import SeenPerson
from edge_mer.perception.encoder import SAMPLE_RATE, Tokens, VideoFrame


def painted(name: str, level: int, seconds: float = 2.0) -> Actor:
    """A grey square that beeps in its second half."""
    pictures = np.full((round(seconds * FPS), 240, 240, 3), level, np.uint8)
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    sound[len(sound) // 2 :] = 0.5
    return Actor(name, pictures, sound)


ANNA, BERT = painted("anna", 250), painted("bert", 5)


def test_a_face_is_where_its_role_says() -> None:
    scene = Scene("x", "x", 2, (Role(ANNA, along([(0, 0.2, 0.5, 0.3), (2, 0.8, 0.5, 0.3)])),), noise=0)
    shots = list(scene.shots())
    assert len(shots) == 2 * FPS
    for shot in (shots[0], shots[-1]):
        left, top, width, height = shot.boxes[0] or (0, 0, 0, 0)
        inside = shot.frame.image[round(top) : round(top + height), round(left) : round(left + width)]
        assert inside[20:-20, 20:-20].min() > 235
    assert (shots[-1].boxes[0] or (0,))[0] > (shots[0].boxes[0] or (0,))[0] + 300


def test_a_nearer_role_covers_a_farther_one_and_an_absent_one_has_no_box() -> None:
    scene = Scene("x", "x", 1, (Role(ANNA, at(0.5)), Role(BERT, at(0.5)), Role(ANNA, at(0.2), begin=5)), noise=0)
    shot = next(scene.shots())
    left, top, width, height = shot.boxes[0] or (0, 0, 0, 0)
    assert shot.frame.image[round(top + height / 2), round(left + width / 2)].max() < 20
    assert shot.boxes[2] is None


def test_voices_are_heard_in_their_spans_and_nobody_else_speaks() -> None:
    roles = Role(ANNA, at(0.3), speaks=((0.0, 2.0),)), Role(BERT, at(0.7))
    scene = Scene("x", "x", 6, roles, off_screen=BERT, off_spans=((4.0, 6.0),))
    assert [scene.speaker(t) for t in (0.5, 3.0, 4.5)] == [0, None, "voice"]
    loud = [float(np.abs(scene.sound[round(t * SAMPLE_RATE)])) > 0.1 for t in (0.5, 1.5, 3.5, 5.5)]
    assert loud == [False, True, False, True], "an actor's voice is in time with its pictures"


def test_a_hushed_actor_shows_only_what_comes_before_the_voice() -> None:
    pictures = np.arange(2 * FPS, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    actor = Actor("x", pictures, ANNA.sound)
    assert hushed(actor).pictures.max() < FPS
    assert not hushed(actor).voice(1.0).any()


def test_level_is_in_decibels_around_a_time() -> None:
    assert level(ANNA.sound, np.array([0.5, 1.5])) == pytest.approx([-60, 20 * np.log10(0.5)], abs=0.1)


class Scripted:
    """An encoder that numbers the boxes as it is told."""

    def __init__(self, scene: Scene, names: list[list[str | None]]) -> None:
        self.shots, self.names = list(scene.shots()), names

    def initial(self) -> int:
        return 0

    def step(self, state: int, frame: VideoFrame) -> tuple[int, Tokens]:
        height, width = frame.image.shape[:2]
        people = []
        for box, name in zip(self.shots[state].boxes, self.names[min(state * 4 // len(self.shots), 3)], strict=True):
            if box is not None and name is not None:
                share = box[0] / width, box[1] / height, box[2] / width, box[3] / height
                people.append(SeenPerson(name, 0, None, share))
        one = np.zeros(1, np.int64)
        return state + 1, Tokens(np.zeros((1, 7), np.float32), one, one, np.ones(1, np.bool_), people=tuple(people))


@pytest.mark.parametrize(
    ("names", "switched", "extra", "missed"),
    [
        ([["p1", "p2"]] * 4, False, 0, 0.0),
        ([["p1", "p2"]] * 2 + [["p2", "p1"]] * 2, True, 2, 0.0),
        ([["p1", "p2"]] * 2 + [["p3", "p2"]] * 2, False, 1, 0.0),
        ([["p1", "p2"]] * 2 + [[None, "p2"]] * 2, False, 0, 0.31),
    ],
)
def test_switches_numbers_and_misses_are_counted(
    names: list[list[str | None]], switched: bool, extra: int, missed: float
) -> None:
    scene = Scene("x", "kind", 4, (Role(ANNA, at(0.3)), Role(BERT, at(0.7))))
    encoder: object = Scripted(scene, names)
    found = outcome(encoder, scene)  # type: ignore[arg-type]
    assert (found.switched, found.extra) == (switched, extra)
    assert found.missed == pytest.approx(missed, abs=0.01)
    assert summary([found, found])[:2] == ["kind", "2"]
