"""Windows of 2 s of voices, as the device cuts them and as other rooms, microphones and levels change them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from edge_mer.perception.audio import TOKEN_SAMPLES
from edge_mer.perception.encoder import SAMPLE_RATE
from edge_mer.perception.voice import BANDS, CONTEXT_FRAMES, FLOOR, GROUP, HISTORY, HOP, log_mel
from pipelines.encoders import audio_augment as sound

Samples = NDArray[np.float32]
STEP: Final = GROUP * TOKEN_SAMPLES
STEP_FRAMES: Final = STEP // HOP
# A frame is voiced within this many tenfold of the loudest one's power.
DEPTH: Final = 2.5
# A window is one to learn from when this many of its newest 50 frames are voiced.
NEWEST: Final = 15
# The most windows of a recording, spread evenly.
RECORDED: Final = 5
# No voice, and nothing that could pass for one; one room is a mausoleum.
VOICES: Final = ("baby_cry", "baby_laugh", "person_sneeze")
MAUSOLEUM: Final = "notthetup_h.flac"


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """``rooms``: measured impulse responses; ``noises``: recordings of homes without a voice."""

    rooms: Sequence[Samples]
    noises: Sequence[Samples]


def places(root: Path) -> Places:
    """What the data folder holds of rooms and noises."""
    with (root / "nonverbal" / "index.csv").open(newline="", encoding="utf-8") as stream:
        files = [root / "nonverbal" / r["file"] for r in csv.DictReader(stream) if r["cls"] not in VOICES]
    rooms = sorted(p for p in (root / "rir" / "rir").iterdir() if p.name != MAUSOLEUM)
    return Places(*([soundfile.read(p, dtype="float32")[0] for p in some] for some in (rooms, files)))


def elsewhere(samples: Samples, places: Places, random: np.random.Generator) -> Samples:
    """``samples`` after a pause, at another speed, in another room, through another microphone, beside noise of 5 to
    30 dB, at another level and, half of the time, softly clipped."""
    before, after = (int(random.uniform(low, high) * SAMPLE_RATE) for low, high in ((0, 1), (0.2, 0.7)))
    out = np.pad(samples, (before, after))
    if random.random() < 0.5:
        out = sound.speed(out, int(random.integers(90, 111)))
    if random.random() < 0.4:
        if random.random() < 0.5:
            room = places.rooms[int(random.integers(len(places.rooms)))]
            out = np.asarray(fftconvolve(out, room)[: len(out)], np.float32)
        else:
            out = sound.reverberated(out, random.uniform(0.15, 0.7), random.uniform(0.1, 0.7), random)
    if random.random() < 0.6:
        out = sound.microphone(out, 4.0, random)
    if random.random() < 0.75:
        out = sound.mixed(out, _noise(len(out), places, random), random.uniform(5, 30))
    if random.random() < 0.12:
        out = sound.telephone(out)
    out = out * np.float32(10 ** (random.uniform(-15, 15) / 20))
    return np.asarray(np.tanh(out) if random.random() < 0.5 else np.clip(out, -1, 1), np.float32)


def _noise(count: int, places: Places, random: np.random.Generator) -> Samples:
    if random.random() >= 0.6:
        return sound.noise(count, random.uniform(0, 1.5), random)
    found = places.noises[int(random.integers(len(places.noises)))]
    start = int(random.integers(max(1, len(found) - count + 1)))
    return found[start : start + count]


def frames_of(samples: Samples) -> Samples:
    """Frames [150 + 50 n, 80] of a clip and the silence before it: those of token i are [50 i : 50 i + 200].

    What is left of a half second at the end is filled up with silence.
    """
    whole = np.pad(samples, (HISTORY, -len(samples) % STEP)).astype(np.float32)
    before = np.full((CONTEXT_FRAMES - STEP_FRAMES, BANDS), np.log10(np.float32(FLOOR)))
    return np.concatenate([before, log_mel(whole)])


def voiced(frames: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each token [n]: how many of its newest 50 frames, and of all its 200, are voiced."""
    level = np.log10((10.0 ** frames.astype(np.float64)).sum(1))
    counts = np.concatenate([[0], np.cumsum(level > level.max() - DEPTH)])
    starts = np.arange(0, len(frames) - CONTEXT_FRAMES + 1, STEP_FRAMES)
    ends = starts + CONTEXT_FRAMES
    return counts[ends] - counts[ends - STEP_FRAMES], counts[ends] - counts[starts]


def recorded_tokens(frames: Samples) -> NDArray[np.int64]:
    """The tokens of a recording to learn from, or to answer from."""
    newest, whole = voiced(frames)
    found = np.flatnonzero(newest >= NEWEST)
    found = found if len(found) else np.array([whole.argmax()])
    evenly = np.linspace(0, len(found) - 1, min(len(found), RECORDED)).astype(int)
    return np.asarray(found[evenly], np.int64)


def window(frames: Samples, token: int) -> Samples:
    """``logmel`` [1, 200, 80] of one token."""
    start = token * STEP_FRAMES
    return np.ascontiguousarray(frames[None, start : start + CONTEXT_FRAMES])
