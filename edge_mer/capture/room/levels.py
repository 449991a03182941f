"""Sensor levels of a room: noise and voice of the microphone, light and face size of the camera, and the offset
between audio and video. Pure folds over raw messages; no device is opened here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.capture.room.quality import SILENCE_DB
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.raw import SAMPLE_RATE

# Samples per measured level (50 ms) and per step in which the onset of a clap is searched (5 ms).
PIECE, STEP = 800, 80
# Quantiles of the levels that stand for the noise floor and for the voice, whatever the share of either.
QUIET, LOUD = 0.1, 0.95
CLIPPING: Final = 32_700
# A clap rises by so many decibels within a few milliseconds; its video lies within so many seconds of it.
RISE_DB, APART_S, BETWEEN_S = 20.0, 0.6, 0.3
CLAPS: Final = 2
AGREE_US: Final = 80_000


class CalibrationFailed(EdgeMerError):
    """The recording does not hold what a calibration needs; the message gives what was found."""


@dataclass(frozen=True, slots=True)
class AudioLevels:
    """``rms_db`` of each piece of 50 ms, dB below full scale; ``steps``: (start_us, power) of each 5 ms."""

    rms_db: tuple[float, ...] = ()
    steps: tuple[tuple[int, float], ...] = ()
    samples: int = 0
    clipped: int = 0
    rest: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))


@dataclass(frozen=True, slots=True)
class VideoLevels:
    """Per frame its time, mean grey (0..255), and in ``changes`` the mean change since the frame before; ``faces``:
    height of the largest face as a share of the frame (0 = none), of the frames that were searched."""

    times_us: tuple[int, ...] = ()
    grey: tuple[float, ...] = ()
    faces: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    last: NDArray[np.uint8] | None = None


def add_audio(state: AudioLevels, samples: NDArray[np.int16], origin_us: int, rate: int = SAMPLE_RATE) -> AudioLevels:
    """Fold one block of PCM in."""
    joined = np.concatenate([state.rest, samples])
    began = origin_us - len(state.rest) * SECOND // rate
    whole = len(joined) // PIECE * PIECE
    pieces = joined[:whole].astype(np.float64).reshape(-1, PIECE) / 32768
    short = joined[:whole].astype(np.float64).reshape(-1, STEP) / 32768
    levels = tuple(_decibels(float(np.square(p).mean())) for p in pieces)
    steps = tuple((began + i * STEP * SECOND // rate, float(np.square(p).mean())) for i, p in enumerate(short))
    return AudioLevels(
        (*state.rms_db, *levels),
        (*state.steps, *steps),
        state.samples + len(samples),
        state.clipped + int((np.abs(samples.astype(np.int32)) >= CLIPPING).sum()),
        joined[whole:],
    )


def add_frame(state: VideoLevels, grey: NDArray[np.uint8], face: float | None, origin_us: int) -> VideoLevels:
    """Fold one frame in: ``grey`` [h, w], and its largest face as in ``VideoLevels``; None where none was searched."""
    changed = 0.0
    if state.last is not None and state.last.shape == grey.shape:
        changed = float(np.abs(grey.astype(np.int16) - state.last).mean())
    return replace(
        state,
        times_us=(*state.times_us, origin_us),
        grey=(*state.grey, float(grey.mean())),
        faces=state.faces if face is None else (*state.faces, face),
        changes=(*state.changes, changed),
        last=grey,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """None where a sensor was masked, absent or gave too little. Levels in dB below full scale, ``exposure`` mean grey
    0..255, ``face_size`` as a share of the frame's height, ``offset_s`` > 0 where video arrives later than audio.
    """

    noise_floor_db: float | None = None
    voice_db: float | None = None
    exposure: float | None = None
    face_size: float | None = None
    offset_s: float | None = None


def measured(audio: AudioLevels, video: VideoLevels) -> tuple[Measured, list[str]]:
    """The result of both folds, and what could not be measured, with figures."""
    found, lacking = Measured(), list[str]()
    if len(audio.rms_db) >= 20:
        found = replace(found, noise_floor_db=_quantile(audio.rms_db, QUIET), voice_db=_quantile(audio.rms_db, LOUD))
        if audio.clipped:
            lacking.append(f"{audio.clipped} of {audio.samples} samples are clipped: lower the microphone's gain")
    else:
        lacking.append(f"microphone: {len(audio.rms_db) / 20:.1f} s of audio, expected at least 1 s")
    if len(video.grey) >= 5:
        found = replace(found, exposure=round(float(np.median(video.grey)), 1))
        if faces := [f for f in video.faces if f > 0]:
            found = replace(found, face_size=round(float(np.median(faces)), 3))
        else:
            lacking.append(f"camera: no face in {len(video.faces)} frames")
    else:
        lacking.append(f"camera: {len(video.grey)} frames, expected at least 5")
    try:
        found = replace(found, offset_s=offset_us(audio, video) / SECOND)
    except CalibrationFailed as error:
        lacking.append(str(error))
    return found, lacking


def offset_us(audio: AudioLevels, video: VideoLevels) -> int:
    """By how much the video of a clap comes after its audio: the median over the claps.

    A clap is a rise of 20 dB within 5 ms; its video is the first large change between two frames near it, so the
    resolution is one frame. Raises CalibrationFailed for fewer than 2 claps, and where they disagree.
    """
    heard = claps(audio)
    changes = np.array(video.changes)
    times = np.array(video.times_us, np.int64)
    found = []
    for at in heard:
        near = np.flatnonzero(np.abs(times - at) <= APART_S * SECOND)
        if not len(near):
            continue
        best = near[(changes[near] >= changes[near].max() / 2).argmax()]  # the first: hands that part change it too
        if changes[best] > 3 * max(float(np.median(changes)), 0.2):
            found.append(int(times[best]) - at)
    if len(found) < CLAPS:
        raise CalibrationFailed(
            f"offset: {len(heard)} claps heard, {len(found)} of them seen; expected at least "
            f"{CLAPS}, with both hands in the picture"
        )
    middle = int(np.median(found))
    if (spread := int(np.median(np.abs(np.array(found) - middle)))) > AGREE_US:
        raise CalibrationFailed(
            f"offset: {len(found)} claps disagree by {spread / 1000:.0f} ms, at most "
            f"{AGREE_US // 1000} ms allowed; clap again, further apart"
        )
    return middle


def claps(audio: AudioLevels) -> list[int]:
    """When each clap began (us), at least 0.3 s apart."""
    power = np.array([p for _, p in audio.steps])
    if len(power) < 8:
        return []
    level = 10 * np.log10(power + 1e-10)
    before = np.array([level[max(0, i - 6) : i].max(initial=SILENCE_DB) for i in range(len(level))])
    loud = level >= np.quantile(level, QUIET) + 1.5 * RISE_DB
    found: list[int] = []
    for i in np.flatnonzero((level - before >= RISE_DB) & loud):
        at = audio.steps[i][0]
        if not found or at - found[-1] >= BETWEEN_S * SECOND:
            found.append(at)
    return found


def _decibels(power: float) -> float:
    return max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB


def _quantile(values: Sequence[float], share: float) -> float:
    return round(float(np.quantile(values, share)), 1)
