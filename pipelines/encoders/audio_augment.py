"""What rooms, microphones and lines do to a voice: each a pure function of samples float32 [n] at 16 kHz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly

from edge_mer.perception.encoder import SAMPLE_RATE

Samples = NDArray[np.float32]
_MU: Final = 255.0


def speed(samples: Samples, percent: int) -> Samples:
    """At ``percent`` of the speed, pitch and tempo together."""
    return np.asarray(resample_poly(samples, 100, percent), np.float32)


def reverberated(samples: Samples, decay_s: float, level: float, random: np.random.Generator) -> Samples:
    """With the tail of a room that loses 60 dB in ``decay_s``; ``level`` is the tail's amplitude beside the direct."""
    time = np.arange(int(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / decay_s)
    tail *= level / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return np.asarray(fftconvolve(samples, tail)[: len(samples)], np.float32)


def noise(count: int, colour: float, random: np.random.Generator) -> Samples:
    """``count`` samples of power 1 whose spectrum falls as 1 / frequency ** ``colour``: 0 is white, 1 like a fan."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    sound = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** (colour / 2), count)
    return np.asarray(sound / np.sqrt(np.square(sound).mean() + 1e-20), np.float32)


def mixed(samples: Samples, other: Samples, decibels: float) -> Samples:
    """``samples`` with ``other`` (repeated or cut to their length) ``decibels`` below them."""
    beside = np.resize(other, len(samples))
    ratio = np.sqrt(np.square(samples).mean() / (np.square(beside).mean() + 1e-20)) * 10 ** (-decibels / 20)
    return np.asarray(samples + ratio * beside, np.float32)


def microphone(samples: Samples, deviation_db: float, random: np.random.Generator) -> Samples:
    """Through a microphone and a place whose response wavers from octave to octave, 62 Hz to 8 kHz."""
    hz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 1.0)
    response = np.interp(np.log2(hz / 62.5), np.arange(8), random.normal(0, deviation_db, 8))
    return np.asarray(np.fft.irfft(np.fft.rfft(samples) * 10 ** (response / 20), len(samples)), np.float32)


def telephone(samples: Samples) -> Samples:
    """Through G.711: 8 kHz, 8 bits in mu-law."""
    narrow = np.clip(resample_poly(samples, 1, 2), -1, 1)
    companded = np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)
    coarse = np.round(companded * 127) / 127
    wide = np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(_MU)) / _MU
    return np.asarray(resample_poly(wide, 2, 1)[: len(samples)], np.float32)


def elsewhere(samples: Samples, others: Sequence[Samples], random: np.random.Generator) -> Samples:
    """``samples`` at another speed, in another room, beside noise or one of ``others``, over another line."""
    out = samples
    if random.random() < 0.6:
        out = speed(out, int(random.integers(88, 114)))
    if random.random() < 0.4:
        out = reverberated(out, random.uniform(0.15, 0.7), random.uniform(0.1, 0.7), random)
    if random.random() < 0.6:
        out = microphone(out, 4.0, random)
    if random.random() < 0.6:
        out = mixed(out, noise(len(out), random.uniform(0, 1.5), random), random.uniform(5, 35))
    if random.random() < 0.15:
        out = mixed(out, others[int(random.integers(len(others)))], random.uniform(10, 20))
    if random.random() < 0.2:
        out = telephone(out)
    if random.random() < 0.05:
        out = out * np.float32(random.uniform(1, 3))  # into clipping
    return np.asarray(np.clip(out * np.float32(10 ** random.uniform(-0.6, 0.0)), -1, 1), np.float32)
