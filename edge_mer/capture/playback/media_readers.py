"""Readers of one track of a file: packets in, samples or images out, from any position on. No clock, no bus.

Each has its own file handle, so that a track can be closed while the other continues to play.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from edge_mer.capture.device import Release
from edge_mer.capture.open_handles import listed
from edge_mer.capture.playback.media_probe import (
    MediaFacts,
    audio_stream,
    file_path,
    open_clip,
    seconds_us,
    video_stream,
)
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

# A step of the time stamps by more than this begins a new stretch, which plays directly after the last one.
FORWARD_US, BACK_US = 5 * SECOND, SECOND // 2
READ_ATTEMPTS = 8
# Distance of pictures where the file gives neither times nor a rate.
FRAME_US = SECOND // 25

HANDLES = "handle of the file"

FindStream = Callable[[InputContainer], "av.AudioStream | av.VideoStream | None"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a track whose time stamps run on: the position at which it plays, what is added to its time stamps for
    that, and where it begins in the file (bytes, None where unknown)."""

    begin_us: int
    shift_us: int = 0
    byte: int | None = None


class Stretches:
    """Those of one track that were met so far. They outlive its readers, so that it goes on where it was."""

    def __init__(self) -> None:
        self._all = [Stretch(0)]

    @property
    def several(self) -> bool:
        return len(self._all) > 1

    @property
    def last(self) -> Stretch:
        return self._all[-1]

    def at(self, position_us: int) -> Stretch:
        """Forgets those that begin later: the reader meets them again."""
        while self._all[-1].begin_us > position_us and self.several:
            self._all.pop()
        return self._all[-1]

    def add(self, stretch: Stretch) -> None:
        self._all.append(stretch)


class _Packets:
    """Packets of the first stream of a kind, from the last seek point before ``at_us`` on."""

    def __init__(
        self, clip: MediaFacts, find: FindStream, at_us: int, counters: Counter[str], stretches: Stretches
    ) -> None:
        self._clip, self._find, self._counters, self._stretches = clip, find, counters, stretches
        self._byte: int | None = None
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
        stretch = self._stretches.at(at_us)
        try:
            if stretch.byte is not None:
                self.container.seek(stretch.byte, unsupported_byte_offset=True)
            else:
                self.container.seek(self._clip.start_us + at_us - stretch.shift_us, backward=True, any_frame=False)
        except av.error.FFmpegError:  # no index: earlier packets are read and dropped
            self.container.close()
            self._open()

    def next(self) -> av.Packet[Any] | None:
        """None at the end, or where nothing more can be read."""
        packet = None
        for _ in range(READ_ATTEMPTS):
            try:
                packet = next(self._demuxed, None)
                break
            except av.error.FFmpegError:  # what follows may be good: the next link of a chain, for example
                self._counters["corrupt"] += 1
                self._demuxed = self.container.demux(self.stream)
        if packet is not None and packet.pos is not None and packet.pos >= 0:
            self._byte = packet.pos
        return packet

    def decode(self, packet: av.Packet[Any]) -> list[av.AudioFrame | av.VideoFrame]:
        """Frames of one packet; a damaged one is dropped and counted."""
        try:
            frames: list[av.AudioFrame | av.VideoFrame] = [
                f for f in packet.decode() if isinstance(f, (av.AudioFrame, av.VideoFrame))
            ]
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:  # some decoders call damaged data unknown or not yet implemented
            self._counters["corrupt"] += 1
            return []
        self._counters["decoded"] += len(frames)
        return frames

    def position_us(self, pts: int | None, time_base: Fraction | None) -> int | None:
        if pts is None or time_base is None:
            return None
        return seconds_us(pts, time_base) - self._clip.start_us + self._stretches.last.shift_us

    def begin_stretch(self, position_us: int, wanted_us: int) -> None:
        """What is at ``position_us`` now plays at ``wanted_us``."""
        self._counters["jumps"] += 1
        shift = self._stretches.last.shift_us + wanted_us - position_us
        self._stretches.add(Stretch(wanted_us, shift, self._byte if wanted_us > position_us else None))

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
    real = os.path.realpath(file_path(path))
    return {fd for fd, target in listed() if target == real}


def _jumped(ahead_us: int) -> bool:
    return ahead_us > FORWARD_US or ahead_us < -BACK_US


class _Blocks:
    """Samples in, blocks [512] out; silence is counted and not stored."""

    def __init__(self) -> None:
        self._pieces: deque[NDArray[np.int16] | int] = deque()
        self.ready = 0

    def append(self, piece: NDArray[np.int16] | int) -> None:
        self._pieces.append(piece)
        self.ready += piece if isinstance(piece, int) else len(piece)

    def overwrite(self) -> None:
        for piece in self._pieces:
            if not isinstance(piece, int):
                overwrite(piece)

    def take(self) -> NDArray[np.int16]:
        """The next block, padded with silence at the end."""
        block, filled = np.zeros(BLOCK, np.int16), 0
        while filled < BLOCK and self._pieces:
            piece = self._pieces.popleft()
            length = piece if isinstance(piece, int) else len(piece)
            used = min(length, BLOCK - filled)
            if not isinstance(piece, int):
                block[filled : filled + used] = piece[:used]
            if used < length:
                self._pieces.appendleft(piece - used if isinstance(piece, int) else piece[used:])
            filled += used
        self.ready -= filled
        return block


class AudioReader:
    """16 kHz mono int16 from sample ``start`` of the clip on; gaps in the recording are silence.

    Rate and channels may change; time that jumps by seconds or goes back begins a new stretch.
    """

    def __init__(
        self, clip: MediaFacts, start: int, counters: Counter[str], stretches: Stretches | None = None
    ) -> None:
        self._at = start
        self._packets = _Packets(
            clip,
            lambda container: audio_stream(container, clip.audio_track),
            start * SECOND // SAMPLE_RATE,
            counters,
            stretches or Stretches(),
        )
        self._counters = counters
        self._sound = SoundFrames()
        self._blocks = _Blocks()
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
        if self._blocks.ready < BLOCK and not (self.ended and self._blocks.ready):
            return None
        return self._blocks.take()

    def close(self) -> Release:
        self._blocks.overwrite()
        return self._packets.close()

    def _too_early(self, packet: av.Packet[Any]) -> bool:
        if packet.pts is None or not packet.duration:
            return False
        end = self._packets.position_us(packet.pts + packet.duration, packet.time_base)
        early = self._at * SECOND // SAMPLE_RATE - PREROLL_US
        return end is not None and end < early

    def _place(self, frame: av.AudioFrame) -> None:
        position = self._packets.position_us(frame.pts, frame.time_base)
        if position is not None:
            wanted = (self._at + self._given + self._sound.kept) * SECOND // SAMPLE_RATE
            ahead = position - wanted
            if (self._begun and _jumped(ahead)) or (not self._begun and self._at and ahead > FORWARD_US):
                self._packets.begin_stretch(position, wanted)
                ahead = 0
            lead = ahead * SAMPLE_RATE // SECOND
            if not self._begun:
                self._given = min(0, lead)  # negative: the frame begins before the wanted sample
            if lead > (0 if not self._begun else HOLE):
                self._append(self._sound.feed(None))
                self._append(lead)
                self._counters["silence_ms"] += lead * 1000 // SAMPLE_RATE
        self._begun = True
        changes = self._sound.changes
        self._append(self._sound.feed(frame))
        self._counters["format_changes"] += self._sound.changes - changes

    def _append(self, piece: NDArray[np.int16] | int) -> None:
        length = piece if isinstance(piece, int) else len(piece)
        surplus = min(length, max(0, -self._given))
        self._given += length
        self._blocks.append(piece - surplus if isinstance(piece, int) else piece[surplus:])


class VideoReader:
    """Decoded frames with their position (us), from ``start_us`` on, at most one for each 1/``fps`` s.

    A frame without a time follows the one before it at the frame rate.
    """

    def __init__(
        self,
        clip: MediaFacts,
        start_us: int,
        fps: float,
        counters: Counter[str],
        stretches: Stretches | None = None,
    ) -> None:
        self._start_us, self._fps, self._counters = start_us, fps, counters
        self._packets = _Packets(clip, video_stream, start_us, counters, stretches or Stretches())
        self._frame_us = clip.frame_us or FRAME_US
        self._slot = -1
        self._next_us: int | None = None
        self._skips = False
        self.frames: deque[tuple[int, av.VideoFrame]] = deque()
        self.ended = False

    def step(self, late_us: int = 0) -> None:
        """Read one packet. When a frame is from before ``late_us``, packets are skipped up to the next key frame after
        it: decoding is too slow for this clip."""
        packet = self._packets.next()
        if packet is None:
            self.ended = True
            return
        if self._skips and packet.size:
            position = self._packets.position_us(packet.pts, packet.time_base)
            if not packet.is_keyframe or (position is not None and position < late_us):
                self._counters["late"] += 1
                return
            self._skips = False
            self._packets.stream.codec_context.flush_buffers()
        for frame in self._packets.decode(packet):
            assert isinstance(frame, av.VideoFrame)
            position = self._place(frame)
            if position >= self._start_us and self._take_slot(position):
                self.frames.append((position, frame))
                self._skips = position < late_us

    def close(self) -> Release:
        self.frames.clear()
        return self._packets.close()

    def _place(self, frame: av.VideoFrame) -> int:
        position = self._packets.position_us(frame.pts, frame.time_base)
        if position is None:
            self._counters["untimed"] += 1
            started = self._packets.position_us(frame.dts, frame.time_base)
            position = self._next_us if self._next_us is not None else max(0, started or 0)
        wanted = self._next_us if self._next_us is not None else self._start_us
        ahead = position - wanted
        if _jumped(ahead) if self._next_us is not None else (self._start_us > 0 and ahead > FORWARD_US):
            self._packets.begin_stretch(position, wanted)
            position = wanted
        elif self._next_us is not None and 0 < (gap := ahead + self._frame_us) < SECOND:
            self._frame_us = gap
        self._next_us = position + self._frame_us
        return position

    def _take_slot(self, position_us: int) -> bool:
        slot = int(position_us * self._fps / SECOND + 0.5)
        if slot <= self._slot:
            return False
        self._slot = slot
        return True
