"""The face detectors: what they find, and that ours gives what OpenCV's own decoding of YuNet gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.perception.detect import Face, Haar, OpenCvYuNet, _shrink
from edge_mer.perception.encoder import VideoFrame
from edge_mer.perception.face import overlap
from edge_mer.perception.load import load_encoder
from edge_mer.perception.yunet import decode
from edge_mer.perception.yunet_detector import PARTS, SMALL, THRESHOLD, YUNET, YuNetDetector, detector, detector_notes
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.recordings import pictures_of
from pipelines.demo.face import EXPRESSIONS, Pose, draw

Image = NDArray[np.uint8]
MODELS = Path(__file__).parents[2] / "edge_mer" / "models"
YUNET_DETECTOR = YuNetDetector(OnnxRuntime().load(MODELS / YUNET))
PORTRAIT = cv2.resize(draw(EXPRESSIONS["neutral"], Pose(), np.random.default_rng(0)), (640, 480))


def expected(view: Image) -> NDArray[np.float32]:
    """What OpenCV makes of the shipped weights."""
    if not hasattr(cv2, "FaceDetectorYN"):
        pytest.skip("this OpenCV has no FaceDetectorYN to compare with")
    net = cv2.FaceDetectorYN.create(str(MODELS / YUNET), "", (view.shape[1], view.shape[0]), THRESHOLD)
    found = net.detect(view)[1]
    return np.zeros((0, 15), np.float32) if found is None else found


def assert_same(view: Image) -> int:
    """Boxes and landmarks within a pixel, scores within 0.01; how many faces there are."""
    whole = np.zeros((384, 640, 3), np.uint8)
    whole[: view.shape[0], : view.shape[1]] = view
    ours, theirs = YUNET_DETECTOR.rows(view), expected(whole)
    assert len(ours) == len(theirs)
    for row in ours:
        near = theirs[np.abs(theirs[:, :14] - row[:14]).max(1).argmin()]
        assert np.abs(near[:14] - row[:14]).max() < 1
        assert abs(near[14] - row[14]) < 0.01
    return len(ours)


def test_boxes_and_landmarks_of_a_drawn_face_are_those_of_opencv() -> None:
    assert assert_same(cv2.resize(PORTRAIT, (512, 384))) == 1


def test_boxes_and_landmarks_of_real_faces_are_those_of_opencv(recordings: Path) -> None:
    found = 0
    for path in sorted(p for folder in ("av_clips", "av_scenes") for p in (recordings / folder).glob("*.jpg")):
        image = cv2.imread(str(path))
        scale = min(640 / image.shape[1], 384 / image.shape[0])
        found += assert_same(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert found > 80


def test_decoding_a_picture_without_faces_gives_no_rows() -> None:
    outputs = {
        f"{name}_{stride}": np.zeros((1, (640 // stride) * (384 // stride), size), np.float32)
        for stride in (8, 16, 32)
        for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    }
    assert decode(outputs, 640, THRESHOLD).shape == (0, 15)


def test_the_surer_of_two_boxes_on_one_face_is_kept() -> None:
    outputs = {
        f"{name}_{stride}": np.zeros((1, (64 // stride) * (64 // stride), size), np.float32)
        for stride in (8, 16, 32)
        for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    }
    for anchor, sure in ((9, 0.9), (10, 0.99), (54, 0.8)):
        outputs["cls_8"][0, anchor] = outputs["obj_8"][0, anchor] = sure
        outputs["bbox_8"][0, anchor, 2:] = np.log(3)
    rows = decode(outputs, 64, THRESHOLD)
    assert rows[:, 14].tolist() == pytest.approx([0.99, 0.8])
    assert rows[0, :4].tolist() == pytest.approx([2 * 8 - 12, 8 - 12, 24, 24])


def placed(tilt: float, share: float) -> Image:
    """The drawn face, ``share`` of the height of a 16:9 picture of 640 pixels, tilted clockwise."""
    scale = share * 360 / 320
    matrix = cv2.getRotationMatrix2D((320, 250), -tilt, scale)
    matrix[:, 2] += (400 - 320, 160 - 250)
    return np.asarray(cv2.warpAffine(PORTRAIT, matrix, (640, 360), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def searched(image: Image, turns: int = len(PARTS)) -> Face | None:
    """As the encoder does with a still picture."""
    for turn in range(turns):
        for face in YUNET_DETECTOR.detect(image) or YUNET_DETECTOR.scan(image, turn):
            exact = YUNET_DETECTOR.closer(image, face, face.pose.roll)
            return exact and YUNET_DETECTOR.again(image, exact)
    return None


@pytest.mark.parametrize("share", [1 / 2, 1 / 6, 1 / 12])
@pytest.mark.parametrize("tilt", [0, 20, 45, -45])
def test_a_tilted_or_small_face_is_found_where_it_is_and_so_is_its_tilt(tilt: float, share: float) -> None:
    face = searched(placed(tilt, share))
    assert face is not None
    left, top, width, height = face.box
    assert np.hypot(left + width / 2 - 400, top + height / 2 - 160) < 0.35 * share * 360
    assert 0.5 < height / (share * 360) < 1.6
    assert abs(face.pose.roll - tilt) < 24, "a step of the look from near"


@pytest.mark.parametrize("x", [60, 316, 324, 590])
@pytest.mark.parametrize("y", [60, 176, 184, 300])
def test_a_small_face_anywhere_is_in_one_of_the_enlarged_parts(x: float, y: float) -> None:
    matrix = np.array([(0.1, 0, x - 32), (0, 0.1, y - 25)])
    image = np.asarray(cv2.warpAffine(PORTRAIT, matrix, (640, 360), flags=cv2.INTER_AREA), np.uint8)
    image[image == 0] = 120
    places = [
        (face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2)
        for turn, (search, *_) in enumerate(PARTS)
        if search == SMALL
        for face in YUNET_DETECTOR.scan(image, turn)
    ]
    assert any(np.hypot(px - x, py - y) < 12 for px, py in places)


def test_a_face_upside_down_is_seen_as_one() -> None:
    face = searched(placed(180, 1 / 2))
    assert face is not None
    assert abs(face.pose.roll) > 150


def test_a_face_upside_down_gives_no_token_and_says_why() -> None:
    eye = load_encoder("video", OnnxRuntime(), MODELS)
    state, token = eye.step(eye.initial(), VideoFrame(placed(180, 1 / 2), 0))
    assert state.reason == "turned away"
    assert not token.valid.any()


@given(box=st.tuples(st.floats(-900, 900), st.floats(-900, 900), st.floats(1, 900), st.floats(1, 900)))
@settings(max_examples=15, deadline=None)
def test_a_look_from_near_at_any_place_is_defined(box: tuple[float, float, float, float]) -> None:
    face = YUNET_DETECTOR.closer(PORTRAIT, Face(box), 0.0)
    assert face is None or (np.isfinite(face.box).all() and face.points is not None)


def detectors() -> Iterator[Haar | YuNetDetector]:
    yield YUNET_DETECTOR
    yield Haar()


@pytest.mark.parametrize("shape", [(4320, 7680, 3), (1, 1, 3), (5, 4000, 3), (1080, 1920, 3)])
def test_frames_of_any_size_are_searched(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    small, scale = _shrink(image)
    assert small.shape[0] <= 240
    assert small.shape[1] <= 320
    assert small.size
    assert 0 < scale <= 1
    for each in detectors():
        assert each.detect(image) == []
        assert all(each.scan(image, turn) == [] for turn in range(len(PARTS)))


def test_the_same_picture_gives_the_same_faces() -> None:
    one, other = (YUNET_DETECTOR.detect(PORTRAIT) for _ in range(2))
    assert [f.box for f in one] == [f.box for f in other]


def test_yunet_is_the_default_and_the_cascade_a_fallback_that_is_named(tmp_path: Path) -> None:
    assert isinstance(detector(OnnxRuntime(), MODELS), YuNetDetector)
    assert detector_notes(MODELS, None) == ()
    fallback = detector(OnnxRuntime(), tmp_path)
    assert isinstance(fallback, Haar)
    assert fallback.name == "haar"
    assert "fallback" in detector_notes(tmp_path, None)[0]
    assert "deprecated" in detector_notes(MODELS, tmp_path)[0]


DISTRIBUTION = """
import sys
sys.path[:0] = ["/usr/lib/python3/dist-packages", {root!r}]
sys.path += {packages!r}
import cv2, numpy as np
from pathlib import Path
from edge_mer.perception.encoder import VideoFrame
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
encoder = load_encoder("video", OnnxRuntime(), Path({models!r}))
state, token = encoder.step(encoder.initial(), VideoFrame(np.load({picture!r}), 0))
print(cv2.__version__, token.valid.all(), *(round(v) for v in state.face.box))
"""


def test_faces_are_found_and_read_beside_the_opencv_of_the_distribution(tmp_path: Path) -> None:
    if not list(Path("/usr/lib/python3/dist-packages").glob(f"cv2.cpython-{''.join(map(str, sys.version_info[:2]))}*")):
        pytest.skip("apt's python3-opencv for this Python is not installed")
    np.save(tmp_path / "picture.npy", PORTRAIT)
    script = DISTRIBUTION.format(
        root=str(MODELS.parents[1]),
        packages=[p for p in sys.path if p.endswith("site-packages")],
        models=str(MODELS),
        picture=str(tmp_path / "picture.npy"),
    )
    run = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, text=True, check=True)
    version, is_valid, *box = run.stdout.split()
    assert version != cv2.__version__
    assert is_valid == "True"
    here = load_encoder("video", OnnxRuntime(), MODELS)
    state, _ = here.step(here.initial(), VideoFrame(PORTRAIT, 0))
    assert state.face is not None
    assert [int(v) for v in box] == pytest.approx(state.face.box, abs=1.5)


@pytest.mark.parametrize("absent", ["FaceDetectorYN", "data", "CascadeClassifier"])
def test_yunet_needs_no_part_of_opencv_that_some_versions_lack(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, absent)
    assert detector(OnnxRuntime(), MODELS).detect(PORTRAIT)


def test_a_missing_yunet_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="YuNet"):
        detector(OnnxRuntime(), MODELS, tmp_path / "absent.onnx")


def test_a_named_yunet_is_still_taken_from_opencv(recordings: Path) -> None:
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_single_face.jpg"))
    named = detector(OnnxRuntime(), MODELS, recordings / "models" / "yunet_n_640_640.onnx")
    assert isinstance(named, OpenCvYuNet)
    assert overlap(named.detect(image)[0].box, YUNET_DETECTOR.detect(image)[0].box) > 0.7


def test_all_detectors_frame_a_real_face_alike(recordings: Path) -> None:
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_single_face.jpg"))
    assert overlap(Haar().detect(image)[0].box, YUNET_DETECTOR.detect(image)[0].box) > 0.5


def test_all_faces_of_a_picture_are_found_largest_first(recordings: Path) -> None:
    image = cv2.imread(str(recordings / "av_clips" / "pyfeat_multi_face.jpg"))
    sizes = [face.box[2] * face.box[3] for face in YUNET_DETECTOR.detect(image)]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)


def test_a_real_profile_is_turned_away_and_a_real_face_that_looks_ahead_is_not(recordings: Path) -> None:
    eye = load_encoder("video", OnnxRuntime(), MODELS)
    frames = list(pictures_of(recordings / "av_scenes" / "face_recognition_short_hamilton_clip.mp4"))

    def reasons(chosen: range) -> list[str]:
        state, seen = eye.initial(), []
        for slot, frame in enumerate(frames[i] for i in chosen):
            state, _ = eye.step(state, VideoFrame(frame.image, slot * 200_000))
            seen.append(state.reason)
        return seen

    assert set(reasons(range(30, 44, 3))) <= {"turned away", "no face"}
    assert "turned away" in reasons(range(30, 44, 3))
    assert reasons(range(84, 105, 4)) == [""] * 6
