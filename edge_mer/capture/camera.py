"""The process ``camera``: OpenCV on a local camera, or on an MJPEG/HTTP or RTSP stream, as JPEG frames."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.open_handles import network_connections, open_files, shut_network_sockets
from edge_mer.capture.reconnect import keep_open
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config, VideoConfig
from edge_mer.contract.addresses import public_address
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.messages import RawVideo

QUEUE = 8
OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 10_000, 2000
# Longest wait of a local camera's thread for the next frame, before it checks for an abort.
LOCAL_WAIT_NS = 20_000_000
# OpenCV's FFmpeg takes options from environment variables only. RTSP over UDP loses packets without an error; sound,
# which has a mask of its own, is not requested. FFmpeg's message at the end of a stream repeats the sensor state.
FFMPEG_OPTIONS = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp|allowed_media_types;video",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}

Image = NDArray[Any]


def public_name(source: int | str) -> str:
    """The part of a source that may leave the host: no user, password, path or query (a path may be a stream's key).

    A GStreamer pipeline may hold all of these anywhere, so none of it is published.
    """
    if isinstance(source, int) or source.startswith("/dev/"):
        return f"camera {source}"
    if "://" in source and (address := public_address(source)) is not None:
        return address
    return "camera pipeline" if "!" in source else "camera address"


class Camera(ThreadedDevice):
    """One camera; its thread opens it, reopens it with backoff when it is lost, and releases it on abort."""

    def __init__(self, video: VideoConfig, clock: Clock) -> None:
        self._interval = round(SECOND / video.fps)
        super().__init__(public_name(video.device), self._interval, QUEUE)
        self._video, self._clock = video, clock
        self._is_stream = isinstance(video.device, str) and "://" in video.device
        self._frame = self._last_us = 0

    handles = "camera device, file or network connection"

    def _handles(self) -> list[str]:
        return [*open_files("/dev/video", "/dev/media", str(self._video.device)), *network_connections()]

    def _run(self, opening: DeviceThread) -> None:
        cv2.setNumThreads(1)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        keep_open(opening, lambda: self._attempt(opening))

    def _attempt(self, opening: DeviceThread) -> tuple[bool, str]:
        capture = self._open()
        try:
            delivered = self._record(capture, opening)
        finally:
            capture.release()
            opening.read_fails = not capture.grab()
        return delivered, f"{self.name} cannot be opened, or its stream ended"

    def _open(self) -> cv2.VideoCapture:
        if self._is_stream:
            for name, value in FFMPEG_OPTIONS.items():
                os.environ.setdefault(name, value)
            timeouts = (
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                OPEN_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                READ_TIMEOUT_MS,
            )
            return cv2.VideoCapture(str(self._video.device), cv2.CAP_FFMPEG, timeouts)
        capture = cv2.VideoCapture(self._video.device)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._video.width)
        capture.set(cv2.CAP_PROP_FPS, self._video.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _record(self, capture: cv2.VideoCapture, opening: DeviceThread) -> bool:
        """Put frames until the abort or the end of the stream; returns whether a frame was read."""
        local = capture.isOpened() and capture.getBackendName() == "V4L2"
        previous: Image | None = None
        repeats = due = 0
        while not opening.aborted.is_set():
            if local and not cv2.VideoCapture.waitAny([capture], LOCAL_WAIT_NS)[0]:
                continue
            if not capture.grab():
                break
            now = self._clock.now_us()
            if now < due - self._interval // 4 or opening.aborted.is_set():
                continue
            due = max(due, now - self._interval) + self._interval
            good, image = capture.retrieve()
            if not good:
                opening.counters["undecodable"] += 1
                continue
            same = self._video.live and previous is not None and np.array_equal(previous, image)
            repeats, previous = repeats + 1 if same else 0, image
            opening.set_fault(None)
            opening.put(self._captured(image, now, repeats))
        return previous is not None

    def _captured(self, image: Image, now: int, repeats: int) -> Captured:
        small = _scaled(image, self._video.width)
        _, jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, self._video.quality))
        self._frame += 1
        self._last_us = max(now, self._last_us + 1)
        body = RawVideo(frame=self._frame, width=small.shape[1], height=small.shape[0], mask_epoch=0)
        return Captured(self._last_us, now, body, (jpeg.reshape(-1),), repeats)

    def _interrupt(self) -> None:
        if self._is_stream:
            shut_network_sockets()


def _scaled(image: Image, width: int) -> Image:
    if image.shape[1] <= width:
        return image
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def build(config: Config, bus: Bus) -> CaptureWorker:
    return CaptureWorker(GatedSource(config, bus, "camera", "video", Camera(config.video, bus.clock)))
