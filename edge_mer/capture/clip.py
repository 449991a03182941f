"""What a media file holds: its tracks, where its time begins, and how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from edge_mer.clock import SECOND
from edge_mer.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Clip:
    """``start_us`` is the file's own first timestamp; every position elsewhere counts from it."""

    path: str
    start_us: int
    duration_us: int
    has_audio: bool
    has_video: bool

    @property
    def name(self) -> str:
        return Path(self.path).name


def probe(path: str | None) -> Clip:
    """Look into a file. Raises DeviceError naming the file when it is missing, damaged or holds neither track."""
    if path is None:
        raise DeviceError("file.path is not set: name the audio or video file that plays as microphone and camera")
    with open_clip(path) as container:
        clip = Clip(
            path=path,
            start_us=container.start_time or 0,
            duration_us=_duration_us(container),
            has_audio=bool(container.streams.audio),
            has_video=bool(container.streams.video),
        )
    if not (clip.has_audio or clip.has_video):
        raise DeviceError(f"{path} has neither an audio nor a video track")
    return clip


def open_clip(path: str) -> InputContainer:
    """Raises DeviceError naming the file."""
    if not Path(path).is_file():
        raise DeviceError(f"{path}: no such file; see file.path")
    try:
        return av.open(path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DeviceError(f"{path} is damaged or no media file: {error}") from error


def seconds_us(pts: int, time_base: Fraction) -> int:
    return round(pts * time_base * SECOND)


def _duration_us(container: InputContainer) -> int:
    """As the header says; where it is silent, the end of the last packet."""
    if container.duration:
        return int(container.duration)
    end = 0
    try:
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, seconds_us(packet.pts + (packet.duration or 0), packet.time_base))
    except av.error.FFmpegError:
        pass  # a file cut short lasts as long as what is left of it
    return max(0, end - (container.start_time or 0))
