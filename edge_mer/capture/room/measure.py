"""What the sensors of this room are like: level and noise of the microphone, light and face size of the camera, and
how far apart sound and picture arrive. Pure folds over raw messages; nothing in here opens a device.
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

# Levels are of pieces of this length; a clap's edge is found to within one of the short ones.
PIECE, EDGE = 800, 80
# Quieter than nearly all pieces, and louder than nearly all: noise floor and voice, whatever their shares.
QUIET, LOUD = 0.1, 0.95
CLIPPING: Final = 32_700
# A clap rises by so many decibels within a few milliseconds; its picture lies within so many seconds of it.
RISE_DB, APART_S, BETWEEN_S = 20.0, 0.6, 0.3
CLAPS: Final = 2
AGREE_US: Final = 80_000


class CalibrationFailed(EdgeMerError):
    """The recording does not hold what a calibration needs; says what was found."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """``rms_db`` of each piece of 50 ms, dB below full scale; ``edges``: (start_us, power) of pieces of 5 ms."""

    rms_db: tuple[float, ...] = ()
    edges: tuple[tuple[int, float], ...] = ()
    samples: int = 0
    clipped: int = 0
    rest: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))


@dataclass(frozen=True, slots=True)
class Seeing:
    """Per frame its time, mean grey (0..255), and in ``moves`` the mean change since the frame before; ``faces``:
    height of the largest face as a share of the picture (0 = none), of the frames that were searched."""

    times_us: tuple[int, ...] = ()
    grey: tuple[float, ...] = ()
    faces: tuple[float, ...] = ()
    moves: tuple[float, ...] = ()
    last: NDArray[np.uint8] | None = None


def hear(state: Hearing, samples: NDArray[np.int16], origin_us: int, rate: int = SAMPLE_RATE) -> Hearing:
    """Fold one block of PCM in."""
    joined = np.concatenate([state.rest, samples])
    began = origin_us - len(state.rest) * SECOND // rate
    whole = len(joined) // PIECE * PIECE
    pieces = joined[:whole].astype(np.float64).reshape(-1, PIECE) / 32768
    short = joined[:whole].astype(np.float64).reshape(-1, EDGE) / 32768
    levels = tuple(_decibels(float(np.square(p).mean())) for p in pieces)
    edges = tuple((began + i * EDGE * SECOND // rate, float(np.square(p).mean())) for i, p in enumerate(short))
    return Hearing(
        (*state.rms_db, *levels),
        (*state.edges, *edges),
        state.samples + len(samples),
        state.clipped + int((np.abs(samples.astype(np.int32)) >= CLIPPING).sum()),
        joined[whole:],
    )


def see(state: Seeing, grey: NDArray[np.uint8], face: float | None, origin_us: int) -> Seeing:
    """Fold one frame in: ``grey`` [h, w], and its largest face as in ``Seeing``; None where nobody searched."""
    moved = 0.0
    if state.last is not None and state.last.shape == grey.shape:
        moved = float(np.abs(grey.astype(np.int16) - state.last).mean())
    return replace(
        state,
        times_us=(*state.times_us, origin_us),
        grey=(*state.grey, float(grey.mean())),
        faces=state.faces if face is None else (*state.faces, face),
        moves=(*state.moves, moved),
        last=grey,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found; None where a sensor was masked, absent or gave too little. Levels in dB below full scale,
    ``exposure`` mean grey 0..255, ``face_size`` as a share of the picture's height, ``offset_s`` > 0 where the
    picture arrives later than the sound.
    """

    noise_floor_db: float | None = None
    voice_db: float | None = None
    exposure: float | None = None
    face_size: float | None = None
    offset_s: float | None = None


def measured(hearing: Hearing, seeing: Seeing) -> tuple[Measured, list[str]]:
    """What both folds came to, and what could not be measured, with figures."""
    found, lacking = Measured(), list[str]()
    if len(hearing.rms_db) >= 20:
        found = replace(
            found, noise_floor_db=_quantile(hearing.rms_db, QUIET), voice_db=_quantile(hearing.rms_db, LOUD)
        )
        if hearing.clipped:
            lacking.append(f"{hearing.clipped} of {hearing.samples} samples are clipped: lower the microphone's gain")
    else:
        lacking.append(f"microphone: {len(hearing.rms_db) / 20:.1f} s of sound, expected at least 1 s")
    if len(seeing.grey) >= 5:
        found = replace(found, exposure=round(float(np.median(seeing.grey)), 1))
        if faces := [f for f in seeing.faces if f > 0]:
            found = replace(found, face_size=round(float(np.median(faces)), 3))
        else:
            lacking.append(f"camera: no face in {len(seeing.faces)} frames")
    else:
        lacking.append(f"camera: {len(seeing.grey)} frames, expected at least 5")
    try:
        found = replace(found, offset_s=offset_us(hearing, seeing) / SECOND)
    except CalibrationFailed as error:
        lacking.append(str(error))
    return found, lacking


def offset_us(hearing: Hearing, seeing: Seeing) -> int:
    """By how much the picture of a clap comes after its sound: the median over the claps.

    A clap is a rise of 20 dB within 5 ms; its picture is the first large change between two frames near it, so that one
    frame is the best that this can tell. Raises CalibrationFailed for fewer than 2 claps, and where they disagree.
    """
    sounds = claps(hearing)
    moves = np.array(seeing.moves)
    times = np.array(seeing.times_us, np.int64)
    found = []
    for at in sounds:
        near = np.flatnonzero(np.abs(times - at) <= APART_S * SECOND)
        if not len(near):
            continue
        best = near[(moves[near] >= moves[near].max() / 2).argmax()]  # the first: hands that part change it too
        if moves[best] > 3 * max(float(np.median(moves)), 0.2):
            found.append(int(times[best]) - at)
    if len(found) < CLAPS:
        raise CalibrationFailed(
            f"offset: {len(sounds)} claps heard, {len(found)} of them seen; expected at least "
            f"{CLAPS}, with both hands in the picture"
        )
    middle = int(np.median(found))
    if (spread := int(np.median(np.abs(np.array(found) - middle)))) > AGREE_US:
        raise CalibrationFailed(
            f"offset: {len(found)} claps disagree by {spread / 1000:.0f} ms, at most "
            f"{AGREE_US // 1000} ms allowed; clap again, further apart"
        )
    return middle


def claps(hearing: Hearing) -> list[int]:
    """When each clap began (us), at least 0.3 s apart."""
    power = np.array([p for _, p in hearing.edges])
    if len(power) < 8:
        return []
    level = 10 * np.log10(power + 1e-10)
    before = np.array([level[max(0, i - 6) : i].max(initial=SILENCE_DB) for i in range(len(level))])
    loud = level >= np.quantile(level, QUIET) + 1.5 * RISE_DB
    found: list[int] = []
    for i in np.flatnonzero((level - before >= RISE_DB) & loud):
        at = hearing.edges[i][0]
        if not found or at - found[-1] >= BETWEEN_S * SECOND:
            found.append(at)
    return found


def _decibels(power: float) -> float:
    return max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB


def _quantile(values: Sequence[float], share: float) -> float:
    return round(float(np.quantile(values, share)), 1)
