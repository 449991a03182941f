"""A local camera through any OpenCV 4: what it is asked, in which order, and without what newer ones have."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from edge_mer.capture.camera import LocalCamera, camera
from edge_mer.capture.device import Captured
from edge_mer.config import Config
from edge_mer.contract.clock import SystemClock
from edge_mer.host.readable import readable


class FakeCapture:
    """OpenCV's camera, with a new picture at every read unless ``still``."""

    calls: ClassVar[list[tuple[int, float]]] = []
    still = False

    def __init__(self, device: object) -> None:
        self.device, self._number, self._open = device, 0, True
        FakeCapture.calls = []

    def isOpened(self) -> bool:
        return True

    def set(self, name: int, value: float) -> bool:
        self.calls.append((name, value))
        return True

    def grab(self) -> bool:
        self._number += not self.still
        return self._open

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((12, 16, 3), self._number % 256, np.uint8)

    def release(self) -> None:
        self._open = False


@pytest.fixture(autouse=True)
def opencv(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    """An OpenCV 4.5 without ``waitAny``, ``utils`` and ``data``."""
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    for name in ("utils", "data"):
        monkeypatch.delattr(cv2, name, raising=False)
    monkeypatch.setattr(FakeCapture, "still", False)
    return FakeCapture


def blocks_of(count: int, enough: Callable[[Captured], bool] = lambda block: True, **video: Any) -> list[Captured]:
    found = camera(Config.model_validate({"video": {"device": 0, **video}}), SystemClock())
    assert isinstance(found, LocalCamera)
    found.open()
    blocks: list[Captured] = []
    while len(blocks) < count or not enough(blocks[-1]):
        assert readable(found.wake[0], 20)
        blocks += found.read()
    found.abort()
    assert found.join(10)
    assert found.release().complete
    return blocks


def test_a_large_picture_is_asked_as_mjpg_and_before_its_size(opencv: type[FakeCapture]) -> None:
    blocks_of(1, width=1280)
    names = [name for name, _ in opencv.calls]
    assert dict(opencv.calls)[cv2.CAP_PROP_FOURCC] == int.from_bytes(b"MJPG", "little")
    assert names.index(cv2.CAP_PROP_FOURCC) < names.index(cv2.CAP_PROP_FRAME_WIDTH)


def test_a_small_picture_keeps_the_format_of_the_camera(opencv: type[FakeCapture]) -> None:
    blocks_of(1, width=640)
    assert cv2.CAP_PROP_FOURCC not in dict(opencv.calls)


def test_equal_buffers_of_a_driver_are_frozen_but_not_at_once(opencv: type[FakeCapture]) -> None:
    opencv.still = True
    blocks = blocks_of(1, enough=lambda block: block.frozen)
    assert blocks[-1].arrived_us - blocks[0].arrived_us >= 5_000_000


def test_what_a_pipeline_decodes_proves_no_freeze(opencv: type[FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_mer.capture.freeze.FIRST_US", 0)
    opencv.still = True
    assert not any(b.frozen for b in blocks_of(30, device="rtspsrc location=rtsp://cam ! appsink"))


def test_a_connected_camera_service_counts_as_open(tmp_path: Path) -> None:
    """Argus and PipeWire hold the camera for their clients; the client has a socket, and no /dev/video."""
    with socket.socket(socket.AF_UNIX) as service, socket.socket(socket.AF_UNIX) as client:
        service.bind(str(tmp_path / "argus_socket"))
        service.listen(1)
        found = camera(Config.model_validate({"video": {"device": "nvarguscamerasrc ! appsink"}}), SystemClock())
        client.connect(str(tmp_path / "argus_socket"))
        release = found.release()
        assert not release.complete
        assert any("argus_socket" in held for held in release.held)
        client.close()
        assert found.release().complete


def test_a_sequenced_connection_to_a_service_counts_as_open(tmp_path: Path) -> None:
    kind = socket.SOCK_SEQPACKET
    with socket.socket(socket.AF_UNIX, kind) as service, socket.socket(socket.AF_UNIX, kind) as client:
        service.bind(str(tmp_path / "pipewire-0"))
        service.listen(1)
        client.connect(str(tmp_path / "pipewire-0"))
        found = camera(Config.model_validate({"video": {"device": "pipewiresrc ! appsink"}}), SystemClock())
        assert not found.release().complete


def test_the_camera_file_is_waited_for_without_newer_functions(
    opencv: type[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptor of the device is polled, so that a frame that never comes does not hold the thread."""
    reader, writer = os.pipe()
    try:
        monkeypatch.setattr("edge_mer.capture.camera._video_descriptor", lambda: reader)
        found = camera(Config(), SystemClock())
        found.open()
        assert not readable(found.wake[0], 0.2), "no frame is ready"
        found.abort()
        assert found.join(1)
    finally:
        os.close(reader)
        os.close(writer)
