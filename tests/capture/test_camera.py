"""The camera worker on real network cameras: frames, faults, and the time to release the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_mer.capture.camera import public_name
from edge_mer.capture.gated_source import EXIT_HELD
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import RawVideo
from tests.capture.process import Capture, capture_process
from tests.devices import MjpegCamera, frame_number, mjpeg_camera, rtsp_camera

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    with mjpeg_camera() as server:
        yield server


@pytest.fixture
def capture(camera: MjpegCamera, tmp_path: Path) -> Iterator[Capture]:
    with capture_process(tmp_path, "camera", "video", video={"device": camera.url, "width": 160}) as running:
        yield running


def test_frames_of_an_mjpeg_camera_arrive_whole_in_order_scaled_and_timed(camera: MjpegCamera, tmp_path: Path) -> None:
    with capture_process(tmp_path, "camera", "video", video={"device": camera.url}) as capture:
        frames = capture.until_frames(30)
    images = [cv2.imdecode(m.payload[0], cv2.IMREAD_COLOR) for m in frames]
    numbers = [frame_number(np.asarray(image, np.uint8)) for image in images]
    assert numbers == list(range(numbers[0], numbers[0] + 30))
    origins = np.diff([m.envelope.origin_us for m in frames])
    assert origins.min() > 0
    assert np.median(origins) == pytest.approx(SECOND / 15, rel=0.2)
    assert capture.states[-1].device == f"http://127.0.0.1:{camera.server_port}"


def test_wide_frames_are_scaled_down_and_fast_ones_thinned_out(camera: MjpegCamera, capture: Capture) -> None:
    camera.fps = 40
    capture.until_frames(5)
    frames = capture.until_frames(30)
    body = frames[0].body
    assert isinstance(body, RawVideo)
    assert (body.width, body.height) == (160, 120)
    span = frames[-1].envelope.origin_us - frames[0].envelope.origin_us
    assert 29 * SECOND / span <= 16


def test_a_frozen_camera_is_detected_and_not_published(camera: MjpegCamera, capture: Capture) -> None:
    capture.until_frames(5)
    camera.behaviour = "frozen"
    capture.until_health("frozen")
    published = len(capture.raw)
    began = capture.clock.now_us()
    capture.until(lambda: capture.clock.now_us() - began > SECOND // 2)
    assert len(capture.raw) == published
    camera.behaviour = "live"
    capture.until_health("ok")
    capture.until_frames(1)


def test_an_unplugged_camera_is_absent_until_it_is_back(camera: MjpegCamera, capture: Capture) -> None:
    capture.until_frames(5)
    camera.behaviour = "stalled"
    silent = capture.clock.now_us()
    state = capture.until_health("absent")
    assert capture.clock.now_us() - silent < SECOND
    assert "secret" not in state.device
    camera.behaviour = "live"
    capture.until_health("ok")


def test_a_missing_camera_is_absent_with_a_reason(tmp_path: Path) -> None:
    with mjpeg_camera() as camera:
        camera.unplug()
        with capture_process(tmp_path, "camera", "video", video={"device": camera.url}) as capture:
            capture.until_health("absent")
            assert "cannot be opened" in (capture.states[-1].reason or "")
            assert capture.states[-1].gate == "live"


@pytest.mark.parametrize("behaviour", ["live", "stalled"])
def test_a_mask_closes_the_handle_within_the_release_time(
    camera: MjpegCamera, capture: Capture, behaviour: str
) -> None:
    capture.until_frames(5)
    assert capture.network_handles() == 1
    camera.behaviour = behaviour
    if behaviour == "stalled":
        capture.until_health("absent")
    before = len(capture.raw)
    answer, took = capture.command("mask")
    assert answer.ok
    assert capture.process.poll() in (None, EXIT_HELD)
    if capture.process.poll() is None:
        assert capture.network_handles() == 0
    assert took < SECOND
    assert answer.modalities["video"].last_seq == capture.raw[-1].envelope.seq
    assert len(capture.raw) - before <= 2
    camera.behaviour = "live"
    capture.command("unmask")
    if capture.process.poll() is None:
        epoch = capture.until_frames(3)[-1].body.mask_epoch
        assert epoch > answer.modalities["video"].mask_epoch


def test_a_masked_camera_worker_is_idle(capture: Capture) -> None:
    capture.until_frames(3)
    capture.command("mask")
    if capture.process.poll() is not None:
        return  # the device was slow to release, so the worker ended
    before, began = capture.cpu_us(), capture.clock.now_us()
    capture.until(lambda: capture.clock.now_us() - began > SECOND)
    assert capture.cpu_us() - before < SECOND // 5
    capture.until(lambda: capture.states[-1].rate_hz == 0)


def test_loss_of_the_switch_closes_the_handle(camera: MjpegCamera, capture: Capture) -> None:
    capture.until_frames(3)
    deadline = capture.clock.now_us() + 4 * SECOND
    while capture.network_handles():  # the switch takes no turn: the lease is not renewed
        assert capture.clock.now_us() < deadline, "not within its time"
        capture.bus.wait(SECOND // 20)


def test_an_rtsp_camera_is_read_and_released(tmp_path: Path) -> None:
    with rtsp_camera() as url, capture_process(tmp_path, "camera", "video", video={"device": url}) as capture:
        frames = capture.until_frames(15)
        image = cv2.imdecode(frames[-1].payload[0], cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3)
        assert capture.network_handles() == 1
        answer, _ = capture.command("mask")
        assert answer.ok
        assert capture.process.poll() is not None or capture.network_handles() == 0


def test_a_source_is_named_without_its_secrets() -> None:
    assert public_name("rtsp://user:pass@cam:554/live?token=1") == "rtsp://cam:554"
    assert public_name("rtsps://host:7441/STREAMKEY") == "rtsps://host:7441"
    pipeline = "rtspsrc location=rtsp://cam:S3CRETpw@host/live ! appsink"
    assert public_name(pipeline) == "camera pipeline"
    assert public_name("rtsp://u:a/b@host") == "camera address"
    assert public_name("/dev/video2") == "camera /dev/video2"
    assert public_name(0) == "camera 0"
