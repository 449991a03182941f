"""Properties of a media file: its tracks, its first timestamp and its duration."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import av
from av.container import InputContainer

from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError

FILE: Final = "file://"
KINDS: Final[dict[Callable[[int], bool], str]] = {
    stat.S_ISDIR: "is a directory",
    stat.S_ISFIFO: "is a FIFO; write it into a file first",
    stat.S_ISSOCK: "is a socket",
    stat.S_ISCHR: "is a device",
    stat.S_ISBLK: "is a device",
}
# FFmpeg draws any text file as a film of letters.
TEXT: Final = {"ansi", "bintext", "idf", "xbin"}


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """``start_us`` is the file's first timestamp; positions elsewhere count from it.

    ``frame_us``: average time between frames, 0 when the file does not give it. ``aspect``: width of a pixel by its
    height. ``audio_track``: the one that was asked for; ``audio_choice``: which of several plays, in words.
    """

    path: str
    start_us: int
    duration_us: int
    has_audio: bool
    has_video: bool
    frame_us: int
    aspect: Fraction | None = None
    audio_track: int | None = None
    audio_choice: str = ""

    @property
    def name(self) -> str:
        return os.fsencode(Path(file_path(self.path)).name).decode("utf-8", "replace")


def probe(path: str | None, audio_track: int | None = None) -> MediaFacts:
    """Read the properties of a file. ``audio_track`` counts its audio tracks from 1; None: the one marked as default.

    Raises DeviceError naming the file when it is missing, damaged, or has not the track or neither kind.
    """
    if path is None:
        raise DeviceError("file.path is not set: name the audio or video file that plays as microphone and camera")
    with open_clip(path) as container:
        audio, video = audio_stream(container, audio_track), video_stream(container)
        tracks = len(container.streams.audio)
        clip = MediaFacts(
            path=path,
            start_us=container.start_time or 0,
            duration_us=_duration_us(container),
            has_audio=audio is not None,
            has_video=video is not None,
            frame_us=round(SECOND / video.average_rate) if video and video.average_rate else 0,
            aspect=video.sample_aspect_ratio if video else None,
            audio_track=audio_track,
            audio_choice=_choice(container, audio) if audio and tracks > 1 else "",
        )
    if not (clip.has_audio or clip.has_video):
        raise DeviceError(f"{path} has neither an audio nor a video track")
    return clip


def open_clip(path: str) -> InputContainer:
    """Raises DeviceError naming the file and what is wrong with it."""
    place = file_path(path)
    if (wrong := no_file(place)) is not None:
        raise DeviceError(f"{path}: {wrong}; see file.path")
    try:
        return _opened(place)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without FFmpeg's number, and the path a second time
        raise DeviceError(f"{path} is damaged or no media file: {reason}") from error


def _opened(place: str) -> InputContainer:
    """FFmpeg takes UTF-8 alone, and takes what stands before a colon for a protocol unless the path is absolute."""
    try:
        place.encode()
    except UnicodeEncodeError:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            return av.open(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    return av.open(os.path.abspath(place))


def file_path(path: str) -> str:
    """The path that ``file.path`` names; ``file://`` addresses carry names that are not UTF-8."""
    return os.fsdecode(unquote_to_bytes(path[len(FILE) :])) if path.startswith(FILE) else path


def no_file(path: str) -> str | None:
    """What stands in the place of a file, in words; None where it is a file with content."""
    try:
        found = os.stat(path)
    except OSError:
        return "no such file"
    if stat.S_ISREG(found.st_mode):
        return None if found.st_size else "is empty"
    return next((kind for test, kind in KINDS.items() if test(found.st_mode)), "is no file")


def audio_stream(container: InputContainer, number: int | None = None) -> av.AudioStream | None:
    """Audio track ``number``, counted from 1; without it, the first that is marked as default, else the first.

    Tracks without a decoder are left out. Raises DeviceError when the track does not exist.
    """
    if number is not None:
        tracks = container.streams.audio
        if not 1 <= number <= len(tracks):
            raise DeviceError(f"file.audio_track is {number}, but the file has {len(tracks)} audio tracks")
        return tracks[number - 1]
    playable = [s for s in container.streams.audio if s.codec_context is not None]
    return next((s for s in playable if s.disposition & av.stream.Disposition.default), next(iter(playable), None))


def _choice(container: InputContainer, audio: av.AudioStream) -> str:
    number = next(n for n, s in enumerate(container.streams.audio, 1) if s.index == audio.index)
    language = f", {audio.language}" if audio.language not in (None, "und") else ""
    return f"audio track {number} of {len(container.streams.audio)}{language}"


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The first video track with a decoder; neither the cover image of a song nor drawn text counts."""
    playable = [s for s in container.streams.video if s.codec_context is not None]
    cover = av.stream.Disposition.attached_pic
    return next((s for s in playable if not s.disposition & cover and s.codec_context.name not in TEXT), None)


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
