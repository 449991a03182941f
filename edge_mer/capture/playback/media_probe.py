"""Properties of a media file: its tracks, its first timestamp and its duration."""

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
    """``start_us`` is the file's first timestamp; positions elsewhere count from it.

    ``frame_us``: average time between frames, 0 when the file does not give it. ``aspect``: width of a pixel by its
    height.
    """

    path: str
    start_us: int
    duration_us: int
    has_audio: bool
    has_video: bool
    frame_us: int
    aspect: Fraction | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name


def probe(path: str | None) -> MediaFacts:
    """Read the properties of a file. Raises DeviceError naming it when it is missing, damaged or has neither track."""
    if path is None:
        raise DeviceError("file.path is not set: name the audio or video file that plays as microphone and camera")
    with open_clip(path) as container:
        audio, video = audio_stream(container), video_stream(container)
        clip = MediaFacts(
            path=path,
            start_us=container.start_time or 0,
            duration_us=_duration_us(container),
            has_audio=audio is not None,
            has_video=video is not None,
            frame_us=round(SECOND / video.average_rate) if video and video.average_rate else 0,
            aspect=video.sample_aspect_ratio if video else None,
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
    """The first audio track with a decoder."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The first video track with a decoder; the cover image of a song does not count."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if s.codec_context is not None and not s.disposition & cover), None)


def seconds_us(pts: int, time_base: Fraction) -> int:
    return round(pts * time_base * SECOND)


def _duration_us(container: InputContainer) -> int:
    """The duration in the header; without one, the end of the last packet."""
    if container.duration:
        return int(container.duration)
    end = 0
    try:
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, seconds_us(packet.pts + (packet.duration or 0), packet.time_base))
    except av.error.FFmpegError:
        pass  # a truncated file lasts until its last complete packet
    return max(0, end - (container.start_time or 0))
