"""``video.rotate``: a fixed turn, or the one in which faces are found."""

from __future__ import annotations

import numpy as np
import pytest

from edge_mer.capture.picture import Image, turned
from edge_mer.capture.rotation import VOTE_US, Upright
from edge_mer.config import load
from edge_mer.contract.errors import ConfigError
from edge_mer.perception.detect import Face, FaceDetector

SCENE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Detector(FaceDetector):
    """Finds a face in the pictures that are the upright scene, and in those of ``also``."""

    def __init__(self, *also: int) -> None:
        self.seen = 0
        self._found = [SCENE, *(turned(SCENE, degrees) for degrees in also)]

    def detect(self, image: Image) -> list[Face]:
        self.seen += 1
        return [Face((0.0, 0.0, 2.0, 2.0))] if any(np.array_equal(image, scene) for scene in self._found) else []


def watch(upright: Upright, image: Image, pictures: int) -> list[int]:
    found = []
    for number in range(pictures):
        upright.turn(image, number * VOTE_US)
        found.append(upright.degrees)
    return found


@pytest.mark.parametrize("hangs", [0, 90, 180, 270])
def test_a_camera_that_hangs_askew_is_found_and_set_upright(hangs: int) -> None:
    detector = Detector()
    upright = Upright("auto", lambda: detector)
    given = turned(SCENE, hangs)
    assert watch(upright, given, 10)[-1] == -hangs % 360
    assert np.array_equal(upright.turn(given, 10 * VOTE_US), SCENE)
    assert detector.seen == 16, "four pictures in four turns; then it is decided"


def test_without_a_face_or_with_one_in_every_turn_nothing_is_turned() -> None:
    assert watch(Upright("auto", Detector), np.zeros_like(SCENE), 20)[-1] == 0
    everywhere = Detector(90, 180, 270)
    assert watch(Upright("auto", lambda: everywhere), SCENE, 20)[-1] == 0


class Tilted(Detector):
    """Finds the face in every turn, as YuNet does, with the landmarks of that turn."""

    def detect(self, image: Image) -> list[Face]:
        upright = np.array([(1, 1), (3, 1), (2, 2), (1, 3), (3, 3)], np.float64)
        turns = next(k for k in range(4) if np.array_equal(image, np.rot90(SCENE, -k)))
        angle = np.pi / 2 * turns
        matrix = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        return [Face((0.0, 0.0, 2.0, 2.0), upright @ matrix.T)]


def test_only_an_upright_face_is_a_vote() -> None:
    assert watch(Upright("auto", Tilted), turned(SCENE, 90), 10)[-1] == 270


def test_one_wrong_detection_decides_nothing() -> None:
    detector = Detector()
    upright = Upright("auto", lambda: detector)
    watch(upright, turned(SCENE, 180), 1)
    assert upright.degrees == 0


def test_a_fixed_turn_needs_no_detector() -> None:
    def none() -> Detector:
        raise AssertionError("opened")

    assert np.array_equal(Upright(180, none).turn(SCENE, 0), turned(SCENE, 180))


@pytest.mark.parametrize(("text", "value"), [("90", 90), (270, 270), ("auto", "auto"), (0, 0)])
def test_the_setting_takes_degrees_or_auto(text: int | str, value: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(overrides={"video": {"rotate": text}})[0].video.rotate == value
    monkeypatch.setenv("EDGE_MER__VIDEO__ROTATE", str(text))
    assert load()[0].video.rotate == value


def test_another_angle_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"video\.rotate"):
        load(overrides={"video": {"rotate": 45}})
