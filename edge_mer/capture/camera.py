"""The process ``camera``: a local camera through OpenCV, or a network camera through PyAV, as JPEG frames."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from threading import Event
from typing import Any

import av
import cv2
import numpy as np

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured
from edge_mer.capture.freeze import Freeze
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.open_handles import (
    listed,
    local_connections,
    network_connections,
    open_files,
    shut_network_sockets,
)
from edge_mer.capture.own_rate import OwnRate
from edge_mer.capture.picture import Image, jpeg, picture, scaled
from edge_mer.capture.reconnect import keep_open
from edge_mer.capture.rotation import Upright, configured
from edge_mer.capture.stream import BARE, PARTS, StreamEnded, is_web, open_stream, packets
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config, VideoConfig, is_stream
from edge_mer.contract.addresses import public_address
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.messages import RawVideo
from edge_mer.host.readable import readable

QUEUE = 8
# A stream without data is opened again after three of its own intervals, but not sooner than this; the second value
# holds until its rate is known.
STALLED_US, FIRST_STALLED_US = 2 * SECOND, 15 * SECOND
# Longest wait of a local camera's thread for the next frame, before it checks for an abort.
LOCAL_WAIT_S = 0.02
# A still picture is fetched this often, at most.
POLL_S = 0.2
# Uncompressed, a larger picture does not fit through USB 2 at a useful rate.
MJPG_ABOVE = 640


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
    """Base of cameras: the thread opens it, opens it again with backoff when it is lost, and releases it on abort."""

    handles = "camera device, file or connection to a network camera or camera service"

    def __init__(self, video: VideoConfig, clock: Clock, upright: Upright) -> None:
        self._interval = round(SECOND / video.fps)
        super().__init__(public_name(video.device), self._interval, QUEUE)
        self._video, self._clock, self._upright = video, clock, upright
        self._frame = self._last_us = self._due_us = 0

    def _handles(self) -> list[str]:
        return [
            *open_files("/dev/video", "/dev/media", str(self._video.device)),
            *network_connections(),
            *local_connections(),  # a camera service holds the camera for its clients: Argus, PipeWire
        ]

    def _run(self, opening: DeviceThread) -> None:
        cv2.setNumThreads(1)
        keep_open(opening, lambda: self._attempt(opening))

    def _attempt(self, opening: DeviceThread) -> tuple[bool, str]:
        before = self._frame
        reason = self._record(opening)
        return self._frame > before, f"{self.name} {reason}"

    @abstractmethod
    def _record(self, opening: DeviceThread) -> str:
        """Open, put frames until the abort or the end, and release; returns why it ended, to follow the name."""

    def _is_due(self, now: int) -> bool:
        """Whether a frame of this time is used: at most ``video.fps`` a second."""
        if now < self._due_us - self._interval // 4:
            return False
        self._due_us = max(self._due_us, now - self._interval) + self._interval
        return True

    def _put(self, opening: DeviceThread, image: Image, now: int, frozen: bool, origin_us: int | None = None) -> None:
        """``origin_us``: when the picture was taken, where its time stamp tells; else it is ``now``."""
        small = scaled(self._upright.turn(image, now), self._video.width)
        self._frame += 1
        self._last_us = max(now if origin_us is None else origin_us, self._last_us + 1)
        body = RawVideo(frame=self._frame, width=small.shape[1], height=small.shape[0], mask_epoch=0)
        frame = Captured(self._last_us, now, body, (jpeg(small, self._video.quality),), frozen=frozen)
        opening.set_fault(None)
        opening.put(frame)


class LocalCamera(Camera):
    """A V4L2 camera by index or path, or a GStreamer pipeline (CSI cameras of a Jetson)."""

    def _record(self, opening: DeviceThread) -> str:
        capture = self._open()
        read = False
        try:
            for image, frozen in self._images(capture, opening):
                read = True
                self._put(opening, image, self._clock.now_us(), frozen)
        finally:
            capture.release()
            opening.read_fails = not capture.grab()
        return "stopped: it was unplugged, or its service ended" if read else "cannot be opened"

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._video.device)
        if self._video.width > MJPG_ABOVE:  # before the size: the driver offers sizes of the current format only
            capture.set(cv2.CAP_PROP_FOURCC, int.from_bytes(b"MJPG", "little"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._video.width)
        capture.set(cv2.CAP_PROP_FPS, self._video.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _images(self, capture: cv2.VideoCapture, opening: DeviceThread) -> Iterator[tuple[Image, bool]]:
        """Pictures and whether the camera is frozen. A driver's buffers are whole pictures: each is a key frame. What
        a pipeline decodes proves nothing."""
        descriptor = _video_descriptor() if capture.isOpened() else None
        freeze = Freeze() if self._video.live and "!" not in str(self._video.device) else None
        while not opening.aborted.is_set():
            if descriptor is not None and not readable(descriptor, LOCAL_WAIT_S):
                continue
            if not capture.grab():
                return
            now = self._clock.now_us()
            if opening.aborted.is_set() or not self._is_due(now):
                continue
            good, image = capture.retrieve()
            if not good:
                opening.counters["undecodable"] += 1
                continue
            if freeze is not None:
                freeze.arrived(now, image.tobytes(), True, None)
            yield np.asarray(image, np.uint8), freeze is not None and freeze.frozen


class NetworkCamera(Camera):
    """An address of MJPEG over HTTP, RTSP, or of a still picture, which is fetched again and again."""

    def __init__(self, video: VideoConfig, clock: Clock, upright: Upright) -> None:
        super().__init__(video, clock, upright)
        self._url = str(video.device)
        self._rate = OwnRate(self._interval, FIRST_STALLED_US, SECOND // 10)
        self._freeze = Freeze()
        self.is_still = False
        self._form: str | None = None

    def read(self) -> list[Captured]:
        """Also ends the read of a stream that has given nothing for several of its own intervals."""
        last = self._rate.last_us
        if last is not None and self._clock.now_us() - last > max(STALLED_US, self._rate.limit_us):
            self._rate.restart()
            shut_network_sockets()
        return super().read()

    def _run(self, opening: DeviceThread) -> None:
        self._freeze = Freeze()
        super()._run(opening)

    def _record(self, opening: DeviceThread) -> str:
        try:
            while not opening.aborted.is_set():
                count = self._stream(opening)
                self.is_still = count == 1 and is_web(self._url)
                if not self.is_still:
                    return "ended its stream"
                opening.aborted.wait(max(POLL_S, self._interval / SECOND))
        except StreamEnded as error:
            return str(error)
        return "was closed"

    def _stream(self, opening: DeviceThread) -> int:
        """One connection, from opening to close; returns the number of packets."""
        container, stream = open_stream(self._url, self._form)
        self.begin(stream)
        count = 0
        try:
            for packet in packets(container, stream):
                if opening.aborted.is_set():
                    break
                count += 1
                self.take(packet, opening, opening.aborted)
            if count == 1 and not opening.aborted.is_set():
                self._show(opening, _decoded(opening, stream, None), stream, opening.aborted)
        finally:
            if not count and not opening.aborted.is_set():  # FFmpeg takes no part that does not say image/jpeg
                self._form = BARE if container.format.name == PARTS else None
            self.end()
            container.close()
            opening.read_fails = True
        return count

    def begin(self, stream: av.VideoStream) -> None:
        """A connection was opened: the rate may be another."""
        self._rate.restart()
        if not self.is_still:
            self._freeze = Freeze(stream.codec_context.name)

    def end(self) -> None:
        """The connection is closed: nothing is expected of it."""
        self._rate.restart()

    def take(self, packet: av.Packet[av.VideoStream], opening: DeviceThread, stop: Event) -> None:
        """Judge one packet, and put its picture if one is due."""
        now = self._clock.now_us()
        self._rate.arrived(now)
        if self._video.live:
            pts = None if self.is_still else packet.pts
            self._freeze.arrived(now, bytes(packet), packet.is_keyframe, pts)
        self._show(opening, _decoded(opening, packet.stream, packet), packet.stream, stop)

    def _show(self, opening: DeviceThread, frames: list[av.VideoFrame], stream: av.VideoStream, stop: Event) -> None:
        for frame in frames:
            origin_us = self._origin_us(frame, stop)
            if self._is_due(now := self._clock.now_us()):
                self._put(opening, picture(frame, stream.sample_aspect_ratio), now, self._freeze.frozen, origin_us)

    def _origin_us(self, frame: av.VideoFrame, stop: Event) -> int | None:
        """When the picture was taken; None: now. Where that is later, it waits until then or ``stop``."""
        return None

    def _interrupt(self) -> None:
        shut_network_sockets()


def _decoded(opening: DeviceThread, stream: av.VideoStream, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
    """The frames of one packet, or None: those that the decoder still holds. A damaged packet gives none."""
    try:
        return list(stream.codec_context.decode(packet))
    except av.error.FFmpegError:
        opening.counters["undecodable"] += 1
        return []


def _video_descriptor() -> int | None:
    """The descriptor of the V4L2 device that OpenCV holds: to wait for a frame, and still see an abort."""
    return next((fd for fd, target in listed() if target.startswith("/dev/video")), None)


def camera(config: Config, clock: Clock) -> Camera:
    """The camera of ``video.device``."""
    kind = NetworkCamera if is_stream(config.video.device) else LocalCamera
    return kind(config.video, clock, configured(config))


def build(config: Config, bus: Bus) -> CaptureWorker:
    return CaptureWorker(GatedSource(config, bus, "camera", "video", camera(config, bus.clock)))
