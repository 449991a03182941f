"""Readers of one track of a file: packets in, samples or images out, from any position on. No clock, no bus.

Each has its own file handle, so that a track can be closed while the other continues to play.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from edge_mer.capture.device import Release
from edge_mer.capture.open_handles import listed
from edge_mer.capture.playback.media_probe import MediaFacts, audio_stream, open_clip, seconds_us, video_stream
from edge_mer.capture.sound_frames import SoundFrames
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.overwrite import overwrite
from edge_mer.contract.raw import SAMPLE_RATE

BLOCK = 512
# A packet that ends this long before the wanted sample is not worth decoding.
PREROLL_US = SECOND // 5
# Rounding moves timestamps; a larger difference is a gap in the recording.
HOLE = SAMPLE_RATE // 20

HANDLES = "handle of the file"

FindStream = Callable[[InputContainer], "av.AudioStream | av.VideoStream | None"]


class _Packets:
    """Packets of the first stream of a kind, from the last seek point before ``at_us`` on."""

    def __init__(self, clip: MediaFacts, find: FindStream, at_us: int, counters: Counter[str]) -> None:
        self._clip, self._find, self._counters = clip, find, counters
        self._open()
        if at_us > 0:
            self._seek(at_us)
        self._demuxed: Iterator[av.Packet[Any]] = self.container.demux(self.stream)

    def _open(self) -> None:
        before = _handles_of(self._clip.path)
        self.container = open_clip(self._clip.path)
        self._own = _handles_of(self._clip.path) - before
        stream = self._find(self.container)
        if stream is None:
            raise DeviceError(f"{self._clip.path} has lost a track since it was first read")
        stream.codec_context.thread_count = 1
        self.stream = stream

    def _seek(self, at_us: int) -> None:
        try:
            self.container.seek(self._clip.start_us + at_us, backward=True, any_frame=False)
        except av.error.FFmpegError:  # no index: earlier packets are read and dropped
            self.container.close()
            self._open()

    def next(self) -> av.Packet[Any] | None:
        """None at the end, or where the file is truncated."""
        try:
            return next(self._demuxed, None)
        except av.error.FFmpegError:
            self._counters["corrupt"] += 1
            return None

    def decode(self, packet: av.Packet[Any]) -> list[av.AudioFrame | av.VideoFrame]:
        """Frames of one packet; a damaged one is dropped and counted."""
        try:
            frames: list[av.AudioFrame | av.VideoFrame] = [
                f for f in packet.decode() if isinstance(f, (av.AudioFrame, av.VideoFrame))
            ]
        except av.error.EOFError:
            return []
        except av.error.InvalidDataError:
            self._counters["corrupt"] += 1
            return []
        except av.error.FFmpegError as error:
            raise DeviceError(f"{self._clip.path} cannot be decoded: {error}") from error
        self._counters["decoded"] += len(frames)
        return frames

    def position_us(self, frame: av.AudioFrame | av.VideoFrame) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return seconds_us(frame.pts, frame.time_base) - self._clip.start_us

    def close(self) -> Release:
        self.container.close()
        held = self._own & _handles_of(self._clip.path)
        return Release(tuple(f"{self._clip.path} as {fd}" for fd in sorted(held)), self._read_fails(), HANDLES)

    def _read_fails(self) -> bool:
        try:
            return next(self.container.demux(self.stream), None) is None  # the earlier iterator would crash
        except (av.error.FFmpegError, AssertionError):  # PyAV: the container is not open
            return True


def _handles_of(path: str) -> set[int]:
    real = os.path.realpath(path)
    return {fd for fd, target in listed() if target == real}


class AudioReader:
    """16 kHz mono int16 from sample ``start`` of the clip on; gaps in the recording are silence."""

    def __init__(self, clip: MediaFacts, start: int, counters: Counter[str]) -> None:
        self._clip, self._at = clip, start
        self._packets = _Packets(clip, audio_stream, start * SECOND // SAMPLE_RATE, counters)
        self._sound = SoundFrames()
        self._buffer = np.empty(0, np.int16)
        self._given = 0  # samples since ``start``, from the resampler or filled in
        self._begun = False
        self.ended = False

    def step(self) -> None:
        """Read one packet."""
        packet = self._packets.next()
        if packet is None:
            self._append(self._sound.feed(None))
            self.ended = True
            return
        if not self._begun and self._too_early(packet):
            return
        for frame in self._packets.decode(packet):
            assert isinstance(frame, av.AudioFrame)
            self._place(frame)

    def take(self) -> NDArray[np.int16] | None:
        """The next block [512], the last one padded with silence; None until a ``step`` reads more."""
        if len(self._buffer) < BLOCK and not (self.ended and len(self._buffer)):
            return None
        block, self._buffer = self._buffer[:BLOCK], self._buffer[BLOCK:]
        return np.pad(block, (0, BLOCK - len(block)))

    def close(self) -> Release:
        overwrite(self._buffer)
        return self._packets.close()

    def _too_early(self, packet: av.Packet[Any]) -> bool:
        if packet.pts is None or not packet.duration:
            return False
        end = seconds_us(packet.pts + packet.duration, packet.time_base) - self._clip.start_us
        return end < self._at * SECOND // SAMPLE_RATE - PREROLL_US

    def _place(self, frame: av.AudioFrame) -> None:
        position = self._packets.position_us(frame)
        if position is not None:
            lead = position * SAMPLE_RATE // SECOND - (self._at + self._given + self._sound.kept)
            if not self._begun:
                self._given = min(0, lead)  # negative: the frame begins before the wanted sample
            if lead > (0 if not self._begun else HOLE):
                self._append(self._sound.feed(None))
                self._append(np.zeros(lead, np.int16))
        self._begun = True
        self._append(self._sound.feed(frame))

    def _append(self, samples: NDArray[np.int16]) -> None:
        surplus = min(len(samples), max(0, -self._given))
        self._given += len(samples)
        self._buffer = np.concatenate([self._buffer, samples[surplus:]])


class VideoReader:
    """Decoded frames with their position (us), from ``start_us`` on, at most one for each 1/``fps`` s."""

    def __init__(self, clip: MediaFacts, start_us: int, fps: float, counters: Counter[str]) -> None:
        self._start_us, self._fps = start_us, fps
        self._packets = _Packets(clip, video_stream, start_us, counters)
        self._slot = -1
        self.frames: deque[tuple[int, av.VideoFrame]] = deque()
        self.ended = False

    def step(self) -> None:
        """Read one packet."""
        packet = self._packets.next()
        if packet is None:
            self.ended = True
            return
        for frame in self._packets.decode(packet):
            assert isinstance(frame, av.VideoFrame)
            position = self._packets.position_us(frame)
            if position is not None and position >= self._start_us and self._take_slot(position):
                self.frames.append((position, frame))

    def close(self) -> Release:
        self.frames.clear()
        return self._packets.close()

    def _take_slot(self, position_us: int) -> bool:
        slot = int(position_us * self._fps / SECOND + 0.5)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True
