"""``edge-mer doctor`` and OpenCV: that of the system is as good as that of pip, and a fault is named as it is."""

from __future__ import annotations

import sys

import cv2
import pytest

from edge_mer.cli.doctor_checks import PACKAGES, Finding, opencv
from edge_mer.config import Config
from edge_mer.contract.errors import ModelError


def found(config: Config | None = None) -> list[Finding]:
    return list(opencv(config or Config()))


def test_the_opencv_of_the_system_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """apt's OpenCV is known to no package manager of Python."""
    assert "opencv-python-headless" not in PACKAGES
    monkeypatch.setattr(cv2, "__file__", "/usr/lib/python3/dist-packages/cv2.so")
    assert found()[0] == Finding(True, f"OpenCV {cv2.__version__} of the system", demo=True)


def test_a_detector_that_does_not_load_is_a_fault_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("no detector here")

    monkeypatch.setattr("edge_mer.perception.yunet_detector.detector", refuse)
    faults = [f for f in found() if not f.good]
    assert [f.what for f in faults] == ["no detector here"]


def test_a_missing_opencv_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert [(f.good, f.demo) for f in found()] == [(False, True)]


def test_a_pipeline_needs_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.model_validate({"video": {"device": "nvarguscamerasrc ! appsink"}})
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "    GStreamer:                   NO\n")
    assert any("no GStreamer" in f.what for f in found(config))
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "    GStreamer:                   YES (1.22.0)\n")
    assert not any("no GStreamer" in f.what for f in found(config))
