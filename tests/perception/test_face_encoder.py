"""The face encoder: five frames per second, one bound face or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.errors import InputError
from edge_mer.perception.crop import crop_face
from edge_mer.perception.detect import Box, Face, FaceDetector
from edge_mer.perception.encoder import Tokens, VideoFrame
from edge_mer.perception.face import FaceEncoder, FaceState, overlap
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import face_graph
from tests.perception.heads import view

# Grey of 128 on average, with the fine detail of a picture in focus.
CHECKS = (np.indices((240, 320)) // 6).sum(0) % 2 * 8 + 124
IMAGE = np.repeat(CHECKS.astype(np.uint8)[..., None], 3, 2)
LEFT, RIGHT, SMALL = (20.0, 60.0, 100.0, 100.0), (200.0, 60.0, 95.0, 95.0), (200.0, 60.0, 50.0, 50.0)


class Seen(FaceDetector):
    """A detector that finds what it is told."""

    def __init__(self) -> None:
        self.faces: list[Face] = []
        self.calls = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        return list(self.faces)


class Watch:
    """An encoder, its state, and a scripted detector."""

    def __init__(self, detector: Seen | None = None) -> None:
        self.detector = detector or Seen()
        self.encoder = FaceEncoder(face_graph(), self.detector)
        self.state = self.encoder.initial()

    def __call__(self, time_ms: int, *faces: Box) -> Tokens:
        self.detector.faces = [Face(box) for box in faces]
        self.state, tokens = self.encoder.step(self.state, VideoFrame(IMAGE, time_ms * 1000))
        return tokens


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_it_takes_the_first_frame_of_each_200_ms_and_looks_at_no_other(watch: Watch) -> None:
    times = [t for t in range(0, 2000, 33) if len(watch(t, LEFT))]
    assert times == [0, 231, 429, 627, 825, 1023, 1221, 1419, 1617, 1815]
    assert watch.detector.calls == len(times)


def test_a_token_is_an_instant_with_the_posterior_of_the_face(watch: Watch) -> None:
    token = watch(50, LEFT)
    assert token.start_us.tolist() == token.end_us.tolist() == [50_000]
    assert token.valid.all()
    assert np.allclose(token.values, 128 / 255, atol=2e-3)
    assert token.cut
    assert token.context == 50_000


def test_no_face_is_absence(watch: Watch) -> None:
    token = watch(0)
    assert not token.valid.any()
    assert not token.values.any()
    assert watch.state.reason == "no face"


def test_a_face_that_moves_a_little_stays_the_same_track(watch: Watch) -> None:
    contexts = {watch(200 * i, (20.0 + 10 * i, 60.0, 100.0, 100.0)).context for i in range(8)}
    assert contexts == {0}


def test_another_face_that_stays_is_another_context(watch: Watch) -> None:
    watch(0, LEFT)
    first = watch(200, RIGHT)
    assert not first.valid.any()
    assert watch.state.reason == "unbound"
    token = watch(400, RIGHT)
    assert token.valid.all()
    assert token.cut
    assert token.context == 400_000


def test_one_slip_of_the_detector_is_no_new_person(watch: Watch) -> None:
    watch(0, LEFT)
    watch(200, SMALL)
    token = watch(400, LEFT)
    assert token.valid.all()
    assert not token.cut
    assert token.context == 0


def test_a_larger_face_that_comes_near_leaves_none_bound(watch: Watch) -> None:
    watch(0, LEFT)
    assert not watch(200, (190.0, 20.0, 130.0, 130.0), LEFT).valid.any()
    assert watch(400, LEFT).context == 0


@pytest.mark.parametrize(("gone_ms", "new"), [(800, False), (1200, True)])
def test_a_face_that_was_gone_for_over_a_second_is_a_new_one(watch: Watch, gone_ms: int, new: bool) -> None:
    watch(0, LEFT)
    for t in range(200, gone_ms, 200):
        assert not watch(t).cut
    token = watch(gone_ms, LEFT)
    assert token.cut is new
    assert token.context == (gone_ms * 1000 if new else 0)


def test_two_faces_of_like_size_are_unbound_and_a_small_one_is_not_a_rival(watch: Watch) -> None:
    assert watch(0, LEFT, SMALL).valid.all()
    token = watch(200, LEFT, RIGHT)
    assert not token.valid.any()
    assert not token.values.any()
    assert watch.state.reason == "unbound"


def test_two_boxes_on_one_face_are_one_face(watch: Watch) -> None:
    assert watch(0, LEFT, (25.0, 62.0, 95.0, 95.0)).valid.all()


def test_the_same_frames_give_the_same_bytes() -> None:
    one, other = Watch(), Watch()
    for t in range(0, 1000, 40):
        assert one(t, LEFT).values.tobytes() == other(t, LEFT).values.tobytes()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 320, 3), np.uint8), "empty"),
        (np.zeros((240, 0, 3), np.uint8), "empty"),
        (np.zeros((240, 320), np.uint8), r"got uint8\[240, 320\]"),
        (np.zeros((240, 320, 4), np.uint8), r"got uint8\[240, 320, 4\]"),
        (np.zeros((240, 320, 3), np.float32), "got float32"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_frame_is_refused(watch: Watch, image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        watch.encoder.step(FaceState(), VideoFrame(image, 0))


boxes = st.tuples(st.floats(-400, 400), st.floats(-400, 400), st.floats(1, 400), st.floats(1, 400))


@given(box=boxes)
def test_a_crop_is_always_48_by_48_in_range(box: Box) -> None:
    crop = crop_face(IMAGE, box)
    assert crop.shape == (48, 48)
    assert crop.dtype == np.float32
    assert 0 <= crop.min() <= crop.max() <= 1


@given(one=boxes, other=boxes)
def test_overlap_is_symmetric_and_one_only_for_the_same_box(one: Box, other: Box) -> None:
    assert overlap(one, other) == pytest.approx(overlap(other, one))
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    assert overlap(one, one) == pytest.approx(1)


def test_a_crop_shows_what_lies_in_the_box() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[50:100, 100:150] = 255
    assert crop_face(image, (100.0, 50.0, 50.0, 50.0)).min() == 1
    assert crop_face(image, (0.0, 120.0, 50.0, 50.0)).max() == 0


def test_the_shipped_encoder_gives_a_posterior_for_a_real_face(recordings: Path, models: Path) -> None:
    eye = load_encoder("video", OnnxRuntime(), models)
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_single_face.jpg"))
    _, token = eye.step(eye.initial(), VideoFrame(image, 0))
    assert token.valid.all()
    assert token.values.shape == (1, len(EMOTIONS))
    assert token.values.min() >= 0
    assert token.values.sum() == pytest.approx(1, abs=1e-5)


def test_a_face_out_of_focus_is_no_token_and_says_so() -> None:
    """The expression network is sure and wrong of it (calibration/RESULTS.md, blur)."""
    watch = Watch()
    soft = np.full((240, 320, 3), 90, np.uint8)
    cv2.circle(soft, (70, 110), 40, (200, 200, 200), -1)
    soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), 12), np.uint8)
    watch.detector.faces = [Face(LEFT)]
    state, token = watch.encoder.step(watch.state, VideoFrame(soft, 0))
    assert state.reason == "blurred"
    assert not token.valid.any()
    assert not token.values.any()
    state, token = watch.encoder.step(state, VideoFrame(IMAGE, 200_000))
    assert (state.reason, bool(token.valid.all())) == ("", True), "in focus again, it is the same face"
    assert not token.cut


# A person who looks into the camera, around LEFT.
AHEAD = np.array([(50.0, 95.0), (90.0, 95.0), (70.0, 118.0), (53.0, 136.0), (87.0, 136.0)])


def shown(yaw: float, pitch: float, roll: float) -> Face:
    return Face(LEFT, view(yaw, pitch, roll) * 40 + AHEAD.mean(0))


@given(yaw=st.floats(-34, 34), pitch=st.floats(-29, 29), roll=st.floats(-89, 89))
def test_a_head_within_the_limits_is_read(yaw: float, pitch: float, roll: float) -> None:
    watch = Watch()
    watch.detector.faces = [shown(yaw, pitch, roll)]
    state, token = watch.encoder.step(watch.state, VideoFrame(IMAGE, 0))
    assert token.valid.all()
    assert state.reason == ""


@given(
    turned=st.one_of(
        st.tuples(st.floats(46, 80), st.floats(-25, 25), st.floats(-60, 60)),
        st.tuples(st.floats(-80, -46), st.floats(-25, 25), st.floats(-60, 60)),
        st.tuples(st.floats(-30, 30), st.floats(31, 70), st.floats(-60, 60)),
        st.tuples(st.floats(-30, 30), st.floats(-70, -31), st.floats(-60, 60)),
        st.tuples(st.floats(-30, 30), st.floats(-25, 25), st.floats(91, 269)),
    )
)
def test_a_head_turned_away_is_no_token_and_says_so(turned: tuple[float, float, float]) -> None:
    watch = Watch()
    watch.detector.faces = [shown(*turned)]
    state, token = watch.encoder.step(watch.state, VideoFrame(IMAGE, 0))
    assert state.reason == "turned away"
    assert not token.valid.any()
    assert not token.values.any()
    watch.detector.faces = [shown(0, 0, 0)]
    _, token = watch.encoder.step(state, VideoFrame(IMAGE, 200_000))
    assert token.valid.all(), "turned back, it is the same face"
    assert not token.cut


class Judged:
    """A graph that also says how sure it is that the face can be read."""

    def __init__(self, readable: float) -> None:
        self.inner, self.readable = face_graph(), readable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        return {**self.inner.run(inputs), "readable": np.full((1, 1), self.readable, np.float32)}


@pytest.mark.parametrize(("readable", "reason"), [(0.9, ""), (0.1, "covered or dark")])
def test_a_face_that_the_network_finds_unreadable_is_no_token_and_says_so(readable: float, reason: str) -> None:
    detector = Seen()
    detector.faces = [Face(LEFT)]
    encoder = FaceEncoder(Judged(readable), detector)
    state, token = encoder.step(encoder.initial(), VideoFrame(IMAGE, 0))
    assert state.reason == reason
    assert token.valid.tolist() == [not reason]
    assert token.values.any() == (not reason)
    _, token = encoder.step(state, VideoFrame(IMAGE, 200_000))
    assert not token.cut, "it is the same face"


class Near(Seen):
    """A detector whose look from near, and whose search, answer as they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Face | None = None
        self.turns: list[int] = []

    def scan(self, image: np.ndarray, turn: int) -> list[Face]:
        self.turns.append(turn)
        return []

    def closer(self, image: np.ndarray, face: Face, roll: float) -> Face | None:
        return self.found

    def again(self, image: np.ndarray, face: Face) -> Face | None:
        return self.found


def test_a_face_that_a_look_from_near_does_not_confirm_is_none() -> None:
    watch = Watch(Near())
    token = watch(0, LEFT)
    assert watch.state.reason == "no face"
    assert not token.valid.any()


def test_a_followed_face_that_a_glance_misses_is_looked_for_where_it_was() -> None:
    detector = Near()
    watch, detector.found = Watch(detector), Face(LEFT)
    watch(0, LEFT)
    token = watch(200)
    assert token.valid.all()
    assert not token.cut
    detector.found = None
    assert not watch(400).valid.any()
    assert watch.state.reason == "no face"


def test_the_search_of_an_empty_picture_goes_on_by_the_count_of_pictures() -> None:
    detector = Near()
    watch = Watch(detector)
    for time_ms in (0, 200, 1_000, 5_000):
        watch(time_ms)
    assert detector.turns == [0, 1, 2, 3]
