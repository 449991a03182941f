"""The process ``file``: an audio or video file plays as microphone and camera, in real time, on one t0.

A masked track is closed and not decoded; the other continues. A recorded transcript plays here too, because it must
share t0. Positions count from t0; time is monotonic, also when the file repeats (``file.loop``).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.bus import Bus, ZmqBus
from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.capture.gated_source import CaptureWorker, Device, GatedSource
from edge_mer.capture.picture import jpeg, picture, scaled
from edge_mer.capture.playback import END_OF_FILE, NOTHING_PLAYED
from edge_mer.capture.playback.media_probe import MediaFacts, probe
from edge_mer.capture.playback.media_readers import BLOCK, HANDLES, AudioReader, Stretches, VideoReader
from edge_mer.capture.playback.recorded import RecordedTranscript, read_transcript
from edge_mer.capture.playback.timeline import START, Playback, SavedStart
from edge_mer.capture.rotation import Upright, configured
from edge_mer.config import Config, plays_with_file
from edge_mer.config import VideoConfig as VideoConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import RawAudio, RawVideo
from edge_mer.contract.raw import SAMPLE_RATE

BLOCK_US = BLOCK * SECOND // SAMPLE_RATE
# Packets read in one turn: bounds the time until a mask takes effect, also during a seek in large video.
PACKETS = 16
# The same in time, where a picture takes long to decode; and how late a picture may be before the rest is skipped.
TURN_US, LATE_US = SECOND // 10, SECOND
# What is left out or filled in, as the counters and the reason at the end name it.
SKIPPED = {
    "jumps": "jumps in time",
    "silence_ms": "ms of gaps",
    "format_changes": "changes of the sound format",
    "corrupt": "damaged packets",
    "untimed": "pictures without a time",
    "late": "packets skipped because decoding is too slow",
}

R = TypeVar("R", AudioReader, VideoReader)


class _Track(ABC, Generic[R]):
    """The common part of both tracks: a reader that exists only while the gate is open, and laps."""

    wake: tuple[int, ...] = ()

    def __init__(self, clip: MediaFacts, playback: Playback, kind: str, present: bool) -> None:
        self.name = clip.name
        self.counters: Counter[str] = Counter()
        self._clip, self._playback = clip, playback
        self._reader: R | None = None
        self._lap_us = 0
        self._stretches = Stretches()
        self._gave = False
        self._missing = None if present else Fault("absent", f"{clip.name} has no {kind} track")
        self._wanted = self._ended = False
        self._released = Release((), True, HANDLES)

    @property
    def fault(self) -> Fault | None:
        return self._missing or (Fault("absent", self._end()) if self._ended else None)

    @property
    def closed(self) -> bool:
        return self._reader is None and not self._wanted

    def open(self) -> None:
        self._playback.begin()
        self._wanted = True

    def abort(self) -> None:
        self._wanted = False
        self._release()

    def release(self) -> Release:
        return self._released

    def join(self, timeout_s: float) -> bool:
        return self.closed

    @property
    def playing(self) -> bool:
        return self._wanted and self._missing is None and not self._ended

    def _end(self) -> str:
        """That the file ended, and what of it was not played as it is."""
        notes: list[str] = [f"{self.counters[name]} {what}" for name, what in SKIPPED.items() if self.counters[name]]
        return "; ".join([END_OF_FILE if self._gave else NOTHING_PLAYED, *notes])

    @abstractmethod
    def _open_at(self, position_us: int) -> None:
        """Begin to read at ``position_us`` after t0."""

    def _started(self) -> tuple[int, int]:
        """t0 and now, with the file open at the current position."""
        t0, now = self._playback.begin(), self._playback.clock.now_us()
        if self._reader is None:
            self._open_at(self._playback.position_us())
        return t0, now

    def _release(self) -> None:
        if self._reader is not None:
            self._released = self._reader.close()
            self._reader = None

    def _next_lap(self) -> bool:
        """At the end of a lap; returns whether another one follows."""
        self._release()
        if self._playback.period_us is None:
            self._ended = True
            return False
        self._lap_us += self._playback.period_us
        return True


class AudioTrack(_Track[AudioReader]):
    """The file's audio as a microphone: blocks of 512 samples, each published when it would have been recorded."""

    interval_us: int | None = BLOCK_US

    def __init__(self, clip: MediaFacts, playback: Playback) -> None:
        super().__init__(clip, playback, "audio", clip.has_audio)
        self.name = f"{clip.name}, {clip.audio_choice}" if clip.audio_choice else clip.name
        self._block = 0  # the next one, counted from t0 over all laps

    def read(self) -> list[Captured]:
        blocks: list[Captured] = []
        if not self.playing:
            return blocks
        t0, now = self._started()
        while self.playing and now >= t0 + (self._block + 1) * BLOCK_US:
            samples = self._next(now + TURN_US)
            if samples is None:
                break
            self._gave = True
            body = RawAudio(rate=SAMPLE_RATE, sample_index=self._block * BLOCK, overflows=0, mask_epoch=0)
            blocks.append(Captured(t0 + self._block * BLOCK_US, now, body, (samples,)))
            self._block += 1
        return blocks

    def due_us(self) -> int:
        """Time until the next block is complete."""
        due = self._playback.begin() + (self._block + 1) * BLOCK_US
        return max(0, due - self._playback.clock.now_us())

    def _open_at(self, position_us: int) -> None:
        """Whole blocks only: a block that began before the gate opened is left out."""
        self._block = max(self._block, -(-max(0, position_us) // BLOCK_US))
        _, self._lap_us = self._playback.lap_of(self._block * BLOCK_US)
        self._reader = AudioReader(self._clip, self._block * BLOCK - self._lap_samples, self.counters, self._stretches)

    @property
    def _lap_samples(self) -> int:
        return self._lap_us // BLOCK_US * BLOCK

    def _next(self, until_us: int) -> NDArray[np.int16] | None:
        """One block; silence from the end of the audio to the end of the lap; None if ``until_us`` passes first."""
        period = self._playback.period_us
        if period is not None and self._block * BLOCK_US >= self._lap_us + period:
            self._next_lap()
            self._reader = AudioReader(self._clip, 0, self.counters, self._stretches)
        assert self._reader is not None
        while (samples := self._reader.take()) is None:
            if self._playback.clock.now_us() > until_us:
                return None
            if not self._reader.ended:
                self._reader.step()
            elif period is not None:
                return np.zeros(BLOCK, np.int16)
            else:
                self._next_lap()
                return None
        return samples


class VideoTrack(_Track[VideoReader]):
    """The file's video as a camera: at most ``fps`` JPEG frames a second, at most ``width`` wide."""

    def __init__(self, clip: MediaFacts, playback: Playback, config: VideoConfig, upright: Upright) -> None:
        super().__init__(clip, playback, "video", clip.has_video)
        self._config, self._upright = config, upright
        self._frame = 0
        self._last_us = -1
        self.interval_us: int | None = max(round(SECOND / config.fps), clip.frame_us)

    def read(self) -> list[Captured]:
        """Frames that are due; it reads ahead until it holds one that is not."""
        blocks: list[Captured] = []
        if not self.playing:
            return blocks
        t0, now = self._started()
        for _ in range(PACKETS):
            assert self._reader is not None
            while self._reader.frames and t0 + self._lap_us + self._reader.frames[0][0] <= now:
                position, frame = self._reader.frames.popleft()
                if self._playback.period_us is None or position < self._playback.period_us:
                    self._gave = True
                    blocks.append(self._captured(t0 + self._lap_us + position, now, frame))
            if self._reader.frames or self._playback.clock.now_us() > now + TURN_US:
                break
            if not self._reader.ended:
                self._reader.step(now - LATE_US - t0 - self._lap_us)
            elif not self._finish():
                break
        return blocks

    def due_us(self) -> int:
        """Time until the next frame; 0 while it must still be read."""
        if self._reader is None or not (self._reader.frames or self._reader.ended):
            return 0
        position = self._reader.frames[0][0] if self._reader.frames else self._end_us
        return max(0, self._playback.begin() + self._lap_us + position - self._playback.clock.now_us())

    @property
    def _end_us(self) -> int:
        """The end of the clip by its header, which is wrong where its time jumps."""
        return 0 if self._stretches.several else self._clip.duration_us

    def _finish(self) -> bool:
        """At the end of the file; returns whether it repeats. The last frame lasts until the end of the clip."""
        if self._playback.period_us is None and self._playback.position_us() < self._end_us:
            return False
        if not self._next_lap():
            return False
        self._reader = VideoReader(self._clip, 0, self._config.fps, self.counters, self._stretches)
        return True

    def _open_at(self, position_us: int) -> None:
        _, self._lap_us = self._playback.lap_of(position_us)
        start = max(0, position_us, self._last_us + 1) - self._lap_us
        self._reader = VideoReader(self._clip, start, self._config.fps, self.counters, self._stretches)

    def _captured(self, origin_us: int, now: int, frame: av.VideoFrame) -> Captured:
        upright = self._upright.turn(picture(frame, self._clip.aspect), origin_us)
        image = scaled(upright, self._config.width)
        body = RawVideo(frame=self._frame, width=image.shape[1], height=image.shape[0], mask_epoch=0)
        self._frame += 1
        self._last_us = origin_us - self._playback.begin()
        return Captured(origin_us, now, body, (jpeg(image, self._config.quality),))


class FileWorker(CaptureWorker):
    """Takes the turns of the file's sources, each when its next block is due."""

    def __init__(
        self, playback: Playback, tracks: list[AudioTrack | VideoTrack | RecordedTranscript], *sources: GatedSource
    ) -> None:
        super().__init__(*sources)
        self.playback, self._tracks = playback, tracks

    def turn(self) -> int:
        wait = super().turn()
        return min([wait, *(track.due_us() for track in self._tracks if track.playing)])


def build(config: Config, bus: Bus) -> FileWorker:
    """Raises DeviceError naming the file when it cannot be played, ConfigError for a bad transcript."""
    place = bus.directory if isinstance(bus, ZmqBus) else None
    return assemble(config, bus, lambda modality, device: GatedSource(config, bus, "file", modality, device), place)


def assemble(
    config: Config, bus: Bus, gated: Callable[[Modality, Device], GatedSource], place: Path | None = None
) -> FileWorker:
    """``gated`` puts a device behind its gate; in the directory ``place`` the clip goes on after a restart."""
    cv2.setNumThreads(1)
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # corrupt packets are counted instead of logged
    clip = probe(config.file.path, config.file.audio_track)
    start = SavedStart(place / START, clip.path) if place else None
    playback = Playback(bus.clock, _period_us(clip) if config.file.loop else None, start)
    devices: list[tuple[Modality, AudioTrack | VideoTrack | RecordedTranscript]] = []
    if config.audio.source == "file":
        devices.append(("audio", AudioTrack(clip, playback)))
    if config.video.source == "file":
        devices.append(("video", VideoTrack(clip, playback, config.video, configured(config))))
    if plays_with_file(config, "text"):
        devices.append(("text", RecordedTranscript(read_transcript(config.text.path), playback)))
    sources = [gated(modality, device) for modality, device in devices]
    return FileWorker(playback, [device for _, device in devices], *sources)


def _period_us(clip: MediaFacts) -> int:
    """Whole audio blocks, so that audio loops without a gap."""
    blocks = -(-clip.duration_us // BLOCK_US)
    if blocks <= 0:
        raise DeviceError(f"{clip.path} has a duration of zero, so it cannot be looped; unset file.loop")
    return blocks * BLOCK_US
