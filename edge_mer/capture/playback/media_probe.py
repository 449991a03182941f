"""What a media file holds: its tracks, where its time begins, and how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """``start_us`` is the file's own first timestamp; every position elsewhere counts from it.

    ``frame_us``: time between pictures on average, 0 when the file does not say.
    """

    path: str
    start_us: int
    duration_us: int
    has_audio: bool
    has_video: bool
    frame_us: int

    @property
    def name(self) -> str:
        return Path(self.path).name


def probe(path: str | None) -> MediaFacts:
    """Look into a file. Raises DeviceError naming the file when it is missing, damaged or holds neither track."""
    if path is None:
        raise DeviceError("file.path is not set: name the audio or video file that plays as microphone and camera")
    with open_clip(path) as container:
        sound, pictures = audio_stream(container), video_stream(container)
        clip = MediaFacts(
            path=path,
            start_us=container.start_time or 0,
            duration_us=_duration_us(container),
            has_audio=sound is not None,
            has_video=pictures is not None,
            frame_us=round(SECOND / pictures.average_rate) if pictures and pictures.average_rate else 0,
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


def audio_stream(container: InputContainer) -> av.AudioStream | None:
    """The first track that there is a decoder for."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The first track that there is a decoder for; the cover picture of a song is none."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if s.codec_context is not None and not s.disposition & cover), None)


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
