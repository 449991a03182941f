"""Tiny clips for tests: a tone and numbered frames, in any combination of tracks."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 44_100


def numbered_frame(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A frame with its number as eight black or white bars, which survive JPEG."""
    bars = [255 if index >> bit & 1 else 0 for bit in range(8)]
    return np.repeat(np.repeat(np.array(bars, np.uint8), width // 8)[None], height, 0)[..., None].repeat(3, 2)


def number(image: np.ndarray) -> int:
    width = image.shape[1] // 8
    return sum(1 << bit for bit in range(8) if image[:, bit * width + 2 : (bit + 1) * width - 2].mean() > 127)


def make_clip(
    path: Path,
    seconds: float = 2.0,
    fps: int = 10,
    audio: bool = True,
    video: bool = True,
    width: int = 96,
    height: int = 64,
    holes: tuple[tuple[float, float], ...] = (),
) -> Path:
    """Audio: a 440 Hz tone whose loudness grows linearly with time; no samples within ``holes``."""
    with av.open(str(path), "w") as container:
        video_track = container.add_stream("mpeg4", rate=fps) if video else None
        audio_track = container.add_stream("aac" if path.suffix == ".mp4" else "flac", rate=RATE) if audio else None
        if audio_track is not None:
            audio_track.layout = "mono"
        if video_track is not None:
            video_track.width, video_track.height = width, height
            video_track.pix_fmt, video_track.gop_size = "yuv420p", 10
            for index in range(round(seconds * fps)):
                frame = av.VideoFrame.from_ndarray(numbered_frame(index, width, height), format="bgr24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                container.mux(video_track.encode(frame))
            container.mux(video_track.encode())
        if audio_track is not None:
            time = np.arange(round(seconds * RATE)) / RATE
            tone = (20_000 * time / seconds * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
            for start in range(0, len(tone), 4410):
                if any(a <= start / RATE < b for a, b in holes):
                    continue
                frame = av.AudioFrame.from_ndarray(tone[None, start : start + 4410], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(audio_track.encode(frame))
            container.mux(audio_track.encode())
    return path


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The MP4 with a, b, c, d (16.16 fixed point) as the display matrix of its tracks; returns ``path``."""
    data = bytearray(path.read_bytes())
    a, b, c, d = matrix
    at = 0
    while (at := data.find(b"tkhd", at) + 4) > 3:
        place = at + 40
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
