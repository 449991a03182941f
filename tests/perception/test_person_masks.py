"""A masked person's tokens are never made, whatever happens to the process that follows faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import MaskPersons
from edge_mer.contract.messages import Message, RawVideo
from edge_mer.perception.detect import Face
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.node import PerceptionNode
from edge_mer.perception.people import PeopleEncoder
from edge_mer.privacy.switch.memory import may_hold_people
from edge_mer.privacy.switch.state import FILE as STATE
from tests.perception.fakes import face_graph
from tests.perception.test_face_encoder import IMAGE, LEFT, RIGHT, Seen
from tests.switch_bench import SwitchBench

# Coarse colours, by which a track knows its face again.
COLOURS = cv2.resize(np.random.default_rng(3).integers(60, 190, (12, 16, 3), np.uint8), (320, 240))
PICTURE = cv2.addWeighted(IMAGE, 0.5, COLOURS, 0.5, 0)
JPEG = np.asarray(cv2.imencode(".jpg", PICTURE)[1], np.uint8).ravel()
FRAME_US = SECOND // 5


class Scene:
    """Two people before a camera, and a switch. ``most``: how many of them are followed."""

    def __init__(self, directory: Path, most: int = 4) -> None:
        self.bench = SwitchBench(directory)
        self.most = most
        self.camera = self.bench.bus("camera").publisher("raw/video", "camera")
        self.features = self.bench.bus("reader").reader("feature/video")
        self.epoch = 1
        self.start("life")
        self.frames()

    def start(self, life: str, awaits: bool = False) -> None:
        detector = Seen()
        detector.faces = [Face(LEFT), Face(RIGHT)]
        face = FaceEncoder(face_graph(), detector)
        encoder = PeopleEncoder(face, self.most) if self.most > 1 else face
        self.bus = self.bench.bus(life)
        self.node = PerceptionNode("video", encoder, self.bus, awaits=awaits)

    def frames(self, count: int = 5) -> list[Message[Any]]:
        for _ in range(count):
            self.bench.clock.advance(FRAME_US)
            self.camera.send(
                RawVideo(frame=0, width=320, height=240, mask_epoch=self.epoch),
                (JPEG,),
                origin_us=self.bench.clock.now_us(),
            )
            self.bench.turn(self.node)
        return self.features.drain()

    def ask(self, action: str, *persons: str) -> bool:
        """Whether it took effect, a second of frames later."""
        self.bench.answers()
        self.bench.ask(action, persons=persons)
        self.frames(SECOND // FRAME_US + 1)
        return self.bench.answers()[0].ok


def _tokens(features: list[Message[Any]]) -> set[str]:
    """Who has a token in these."""
    return {p.person for f in features for p in f.body.people or () if p.token is not None}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_from_the_confirmation_on_there_is_no_token_of_a_masked_person(scene: Scene) -> None:
    assert _tokens(scene.frames()) == {"p1", "p2"}
    assert scene.ask("mask", "p2")
    features = scene.frames(20)
    assert _tokens(features) == {"p1"}
    rows = [p for f in features for p in f.body.people if p.person == "p2"]
    assert rows
    assert all(p.masked and p.reason is None and not p.mouth and not p.yaw for p in rows)
    assert scene.ask("unmask", "p2")
    assert "p2" in _tokens(scene.frames())


def test_a_person_who_is_not_in_view_is_named_in_the_answer(scene: Scene) -> None:
    assert not scene.ask("mask", "p9")
    assert _tokens(scene.frames()) == {"p1", "p2"}


def test_a_new_life_encodes_nothing_before_it_knows_who_is_masked(scene: Scene) -> None:
    scene.ask("mask", "p2")
    scene.bench.kill_switch()
    scene.bus.close()
    scene.start("next life", awaits=True)
    assert not scene.frames()
    assert scene.node.counters["person_masked"] == 5
    scene.bench.start_switch()
    scene.epoch = 10_000
    assert not _tokens(scene.frames(20)), "everybody is masked"
    assert scene.ask("unmask", "all")
    assert _tokens(scene.frames()) == {"p1", "p2"}


def test_after_a_mask_of_the_camera_everybody_is_masked_where_a_person_was(scene: Scene) -> None:
    scene.ask("mask", "p2")
    scene.bench.ask("mask", "video")
    scene.bench.turn(scene.node)
    scene.epoch = 10_000
    assert not _tokens(scene.frames(10)), "the numbers began anew"
    assert scene.bench.switch is not None
    people = scene.bench.switch.answer("", True, "").people
    assert people is not None
    assert people.everybody
    assert scene.ask("unmask", "all")
    assert _tokens(scene.frames()) == {"p1", "p2"}


def test_an_order_that_is_repeated_after_the_numbers_began_anew_unmasks_nobody(scene: Scene) -> None:
    scene.ask("mask", "p2")
    order = scene.node._purges.masked
    assert order is not None
    scene.bench.kill_switch()
    scene.epoch = 10_000  # as after a restart of the camera
    assert not _tokens(scene.frames())
    scene.node._mask(order)
    assert not _tokens(scene.frames())


def test_an_order_from_before_a_purge_masks_everybody(scene: Scene) -> None:
    scene.node._purged_epoch = 9
    scene.node._mask(MaskPersons(mask_epoch=8, boot="life", persons=("p2",), everybody=False))
    assert not _tokens(scene.frames())
    scene.node._mask(MaskPersons(mask_epoch=10, boot="life", persons=("p2",), everybody=False))
    assert "p1" in _tokens(scene.frames())


def test_where_one_face_is_followed_a_mask_of_a_person_stops_all_tokens(tmp_path: Path) -> None:
    scene = Scene(tmp_path, most=1)
    scene.ask("mask", "p1")
    assert not scene.frames()
    scene.ask("unmask", "all")
    assert scene.frames()


def test_a_start_waits_for_the_switch_only_where_persons_may_be_masked(scene: Scene, tmp_path: Path) -> None:
    unused = tmp_path / "unused"
    assert not may_hold_people(str(unused)), "no switch has ever run there"
    state = str(scene.bench.directory)
    assert not may_hold_people(state)
    scene.ask("mask", "p2")
    assert may_hold_people(state)
    scene.ask("unmask", "p2")
    assert not may_hold_people(state)
    file = scene.bench.directory / STATE
    file.write_bytes(file.read_bytes()[:-1])
    assert may_hold_people(state)
    file.unlink()
    assert may_hold_people(state)
