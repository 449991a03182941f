"""Scenes of the detection table: the face is where, as large and as turned as the row says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.detection import Cell, Detection, markdown
from calibration.scenes import Portrait, is_hit, scene, turned
from edge_mer.perception.yunet_detector import YUNET, YuNetDetector
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.encoders.shipped import MODELS

SIDE = 160.0
DRAWN = cv2.resize(draw(EXPRESSIONS["neutral"], Pose(), np.random.default_rng(0)), None, fx=1.0, fy=1.0)
FACE = Portrait(np.ascontiguousarray(np.pad(DRAWN, ((120, 120), (80, 80), (0, 0)), "edge")), SIDE)


@pytest.fixture(scope="module")
def finder() -> YuNetDetector:
    return YuNetDetector(OnnxRuntime().load(MODELS / YUNET))


@pytest.mark.parametrize("share", [1 / 3, 1 / 6])
@pytest.mark.parametrize("tilt", [0, 20])
def test_the_face_is_where_the_scene_says(finder: YuNetDetector, share: float, tilt: float) -> None:
    image, box = scene(FACE, share, tilt, np.random.default_rng(1))
    assert image.shape == (360, 640, 3)
    assert box[3] == pytest.approx(share * 360)
    assert any(is_hit(face.box, box) for face in finder.detect(image))


def test_a_hit_needs_the_place_and_the_size() -> None:
    assert is_hit((10, 10, 50, 50), (12, 8, 60, 60))
    assert not is_hit((60, 10, 50, 50), (12, 8, 60, 60))
    assert not is_hit((20, 20, 20, 20), (12, 8, 60, 60))


@pytest.mark.parametrize("yaw", [-45, -20, 20, 45])
def test_a_turned_head_looks_to_its_side(finder: YuNetDetector, yaw: float) -> None:
    image = turned(FACE, yaw).image
    faces = finder.detect(image)
    assert faces
    exact = finder.closer(image, faces[0], 0.0)
    assert exact is not None
    assert np.sign(exact.pose.yaw) == np.sign(yaw)
    assert abs(exact.pose.yaw) > abs(yaw) / 3


def test_a_head_that_is_not_turned_is_the_same_face(finder: YuNetDetector) -> None:
    one, other = finder.detect(FACE.image)[0], finder.detect(turned(FACE, 0).image)[0]
    assert is_hit(one.box, other.box)


def test_a_row_says_what_was_found() -> None:
    assert Cell(1 / 12, 45, 0, 28, (0.0, 0.5, 1.0)).cells() == ["1/12", "45", "0", "28", "0.00", "0.50", "1.00"]


def test_real_faces_are_found_and_the_section_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real recordings are absent: {root}")
    monkeypatch.setattr("calibration.detection.SHARES", (1 / 6,))
    monkeypatch.setattr("calibration.detection.TILTS", (0, 45))
    monkeypatch.setattr("calibration.detection.YAWS", ())
    monkeypatch.setattr("calibration.detection.EMPTY", ())
    detection = Detection(root, MODELS)
    assert len(detection.faces) > 20
    detection.faces = detection.faces[::4]
    upright, tilted = detection.rows()
    assert upright.found[2] == 1
    assert tilted.found[2] > 0.9 > 0.2 > tilted.found[0]
    assert "python -m calibration.detection" in markdown(detection)
