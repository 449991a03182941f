"""The sound of a network stream as microphone (``audio.source = "url"``): RTSP, HTTP or HLS through PyAV.

It has its own connection, which requests sound alone: a camera's picture does not pass through it, and its mask closes
it while the picture goes on. Sound of the camera's own stream comes over the camera's connection
(``edge_mer.capture.joint_stream``).
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from edge_mer.capture.device import Captured
from edge_mer.capture.open_handles import network_connections, shut_network_sockets
from edge_mer.capture.reconnect import keep_open
from edge_mer.capture.sound_frames import SoundFrames
from edge_mer.capture.stream_clock import Placed, StreamClock
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config
from edge_mer.contract.addresses import public_address
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import RawAudio
from edge_mer.contract.raw import SAMPLE_RATE

BLOCK: Final = 512
BLOCK_US: Final = BLOCK * SECOND // SAMPLE_RATE
QUEUE: Final = 64
OPEN_TIMEOUT_S, READ_TIMEOUT_S, SEGMENT_TIMEOUT_S = 10.0, 3.0, 15.0
# RTSP: over TCP, since UDP loses packets without an error, and SETUP of sound only. Half a second tells the format.
OPTIONS: Final = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "audio",
    "analyzeduration": "500000",
    "probesize": "100000",
    "fflags": "nobuffer",
}
HLS: Final = "hls"
# FFmpeg would open anything that it knows, also files.
PROTOCOLS: Final = ("rtsp", "rtsps", "http", "https")


def stream_url(config: Config) -> str:
    """``audio.url``, or the camera's own stream. Raises ConfigError when neither is the URL of a stream."""
    url = config.audio.url if config.audio.url is not None else str(config.video.device)
    if url.partition("://")[0].lower() not in PROTOCOLS or "://" not in url:
        key = "audio.url" if config.audio.url is not None else "video.device"
        raise ConfigError(
            f'audio.source is "url", and {key} is no stream: set audio.url to rtsp://..., http://... or https://...'
        )
    return url


class StreamSound(ThreadedDevice):
    """One stream; its thread opens it, opens it again with a growing pause when it is lost, and closes it on abort."""

    handles = "network connection"

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(public_address(url) or "sound stream", BLOCK_US, QUEUE)
        self._url, self._clock = url, clock
        self._index = 0
        self._last_us = -1
        self.stream_clock, self._timeline = StreamClock(live=True), _Timeline()

    def _handles(self) -> list[str]:
        return network_connections()

    def _run(self, opening: DeviceThread) -> None:
        self._index = 0
        keep_open(opening, lambda: self._attempt(opening))

    def _attempt(self, opening: DeviceThread) -> tuple[bool, str]:
        """Read until the stream ends or the gate closes."""
        began, reason = self._index, "ended"
        try:
            container = self._open()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            return False, f"{self.name} cannot be opened: {_reason(error)}"
        try:
            if container.streams.audio:
                self._record(container, opening)
            else:
                reason = "has no sound"
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = f"was lost: {_reason(error)}"
        finally:
            container.close()
            self.end()
            opening.read_fails = read_fails(container)
        return self._index > began, f"{self.name} {reason}"

    def _open(self) -> InputContainer:
        # PyAV asks after each of FFmpeg's waits whether the time is over.
        segmented = self._url.partition("?")[0].endswith((".m3u8", ".m3u"))
        timeout = (OPEN_TIMEOUT_S, SEGMENT_TIMEOUT_S if segmented else READ_TIMEOUT_S)
        return av.open(self._url, options=OPTIONS, timeout=timeout)

    def _record(self, container: InputContainer, opening: DeviceThread) -> None:
        stream = container.streams.audio[0]
        self.begin(container, stream)
        for packet in container.demux(stream):
            self.take(packet, opening, opening.aborted)
            if opening.aborted.is_set():
                return

    def begin(self, container: InputContainer, stream: av.AudioStream) -> None:
        """A connection was opened: its time and format are new."""
        stream.codec_context.thread_count = 1
        self.stream_clock = StreamClock(live=container.format.name != HLS and container.duration is None)
        self._timeline = _Timeline()

    def end(self) -> None:
        """The connection is closed: what waits for the next frame is dropped."""
        self.stream_clock, self._timeline = StreamClock(live=True), _Timeline()

    def take(self, packet: av.Packet[av.AudioStream], opening: DeviceThread, stop: Event) -> None:
        """Put the blocks of one packet; where it is early, wait until its time or ``stop``."""
        clock = self.stream_clock
        for frame in self._decoded(packet, opening):
            jumps = clock.jumps
            placed = clock.place(pts_us(frame), frame.samples * SECOND // frame.sample_rate, self._clock.now_us())
            opening.counters["skipped"] += placed.skip
            opening.counters["time_jumps"] += clock.jumps - jumps
            if not placed.skip and not stop.wait(placed.wait_us / SECOND):
                for origin_us, block in self._timeline.blocks(frame, placed):
                    self._put(opening, origin_us, block)

    def _decoded(self, packet: av.Packet[av.AudioStream], opening: DeviceThread) -> list[av.AudioFrame]:
        try:
            return list(packet.decode())
        except av.error.FFmpegError:  # some decoders call damaged data unknown or not yet implemented
            opening.counters["corrupt"] += 1
            return []

    def _put(self, opening: DeviceThread, origin_us: int, block: NDArray[np.int16]) -> None:
        self._last_us = max(origin_us, self._last_us + 1)
        body = RawAudio(rate=SAMPLE_RATE, sample_index=self._index, overflows=0, mask_epoch=0)
        self._index += BLOCK
        opening.set_fault(None)
        opening.put(Captured(self._last_us, self._clock.now_us(), body, (block,)))

    def _interrupt(self) -> None:
        shut_network_sockets()


class _Timeline:
    """Frames to blocks [512] with their times; what waits for the next frame is dropped at a gap."""

    def __init__(self) -> None:
        self._sound, self._waiting = SoundFrames(), np.empty(0, np.int16)

    def blocks(self, frame: av.AudioFrame, placed: Placed) -> Iterator[tuple[int, NDArray[np.int16]]]:
        if not placed.follows:
            self._sound, self._waiting = SoundFrames(), np.empty(0, np.int16)
        begun_us = placed.origin_us - (self._sound.kept + len(self._waiting)) * SECOND // SAMPLE_RATE
        samples = np.concatenate([self._waiting, self._sound.feed(frame)])
        whole = len(samples) - len(samples) % BLOCK
        self._waiting = samples[whole:]
        for first in range(0, whole, BLOCK):
            yield begun_us + first * SECOND // SAMPLE_RATE, samples[first : first + BLOCK]


def pts_us(frame: av.AudioFrame | av.VideoFrame) -> int | None:
    return None if frame.pts is None or frame.time_base is None else round(frame.pts * frame.time_base * SECOND)


def read_fails(container: InputContainer) -> bool:
    try:
        return next(container.demux(), None) is None
    except (av.error.FFmpegError, AssertionError):  # PyAV: the container is not open
        return True


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
