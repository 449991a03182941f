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
from edge_mer.contract.errors import InputError, ModelError
from edge_mer.perception.detect import Box, Haar, YuNet, _shrink
from edge_mer.perception.encoder import Tokens, VideoFrame
from edge_mer.perception.face import FaceEncoder, FaceState, crop_face, overlap
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import face_graph

# Grey of 128 on average, with the fine detail of a picture in focus.
CHECKS = (np.indices((240, 320)) // 6).sum(0) % 2 * 8 + 124
IMAGE = np.repeat(CHECKS.astype(np.uint8)[..., None], 3, 2)
LEFT, RIGHT, SMALL = (20.0, 60.0, 100.0, 100.0), (200.0, 60.0, 95.0, 95.0), (200.0, 60.0, 50.0, 50.0)


class Seen:
    """A detector that finds what it is told."""

    def __init__(self) -> None:
        self.faces: list[Box] = []
        self.calls = 0

    def detect(self, image: np.ndarray) -> list[Box]:
        self.calls += 1
        return self.faces


class Watch:
    """An encoder, its state, and a scripted detector."""

    def __init__(self) -> None:
        self.detector = Seen()
        self.encoder = FaceEncoder(face_graph(), self.detector)
        self.state = self.encoder.initial()

    def __call__(self, time_ms: int, *faces: Box) -> Tokens:
        self.detector.faces = list(faces)
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


@pytest.mark.parametrize("shape", [(4320, 7680, 3), (1, 1, 3), (5, 4000, 3)])
def test_frames_of_any_size_are_searched_at_320_by_240(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    small, scale = _shrink(image)
    assert small.shape[0] <= 240
    assert small.shape[1] <= 320
    assert small.size
    assert 0 < scale <= 1
    assert Haar().detect(image) == []


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


def test_a_missing_yunet_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="YuNet"):
        YuNet(tmp_path / "absent.onnx")


def test_both_detectors_find_a_real_face_and_frame_it_alike(recordings: Path) -> None:
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_single_face.jpg"))
    yunet = YuNet(recordings / "models" / "yunet_n_640_640.onnx")
    assert overlap(Haar().detect(image)[0], yunet.detect(image)[0]) > 0.5


def test_all_faces_of_a_picture_are_found_largest_first(recordings: Path) -> None:
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_multi_face.jpg"))
    yunet = YuNet(recordings / "models" / "yunet_n_640_640.onnx")
    sizes = [w * h for _, _, w, h in yunet.detect(image)]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)


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
    watch.detector.faces = [LEFT]
    state, token = watch.encoder.step(watch.state, VideoFrame(soft, 0))
    assert state.reason == "blurred"
    assert not token.valid.any()
    assert not token.values.any()
    state, token = watch.encoder.step(state, VideoFrame(IMAGE, 200_000))
    assert (state.reason, bool(token.valid.all())) == ("", True), "in focus again, it is the same face"
    assert not token.cut
