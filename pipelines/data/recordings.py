"""Recordings of any kind as the encoders take them: sound at 16 kHz, pictures in BGR, words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.capture.playback.media_probe import audio_stream, open_clip, video_stream
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.perception.encoder import SAMPLE_RATE, VideoFrame
from pipelines.data.corpora import DataError

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_FAULTS = (av.error.FFmpegError, DeviceError, OSError, ValueError)


def sound_of(path: Path) -> NDArray[np.float32]:
    """The first sound track, float32 [n] at 16 kHz mono. Raises DataError when there is none."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    parts: list[NDArray[np.float32]] = []
    try:
        with open_clip(str(path)) as container:
            stream = audio_stream(container)
            if stream is None:
                raise DataError(f"{path} has no sound track")
            for frame in container.decode(stream):
                parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
            parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    except _FAULTS as error:
        raise DataError(f"{path} has no readable sound: {error}") from error
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def pictures_of(path: Path) -> Iterator[VideoFrame]:
    """The frames of a video, or the one picture. Raises DataError when there is none."""
    if path.suffix.lower() in PICTURES:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{path} is absent or no picture")
        yield VideoFrame(np.asarray(image, np.uint8), 0)
        return
    try:
        with open_clip(str(path)) as container:
            stream = video_stream(container)
            if stream is None:
                raise DataError(f"{path} has no video track")
            for frame in container.decode(stream):
                yield VideoFrame(frame.to_ndarray(format="bgr24"), round((frame.time or 0.0) * SECOND))
    except _FAULTS as error:
        raise DataError(f"{path} cannot be seen: {error}") from error


def words_of(path: Path) -> str:
    """A transcript file. Raises DataError when it is not UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
