"""Synthetic levels of speech: syllables, words and pauses, as one microphone near the speaker would give them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOOR_DB = -58.0


def speech(seed: int, steps: int) -> NDArray[np.float64]:
    """dB in tenths of a second; -inf in a pause."""
    random = np.random.default_rng(seed)
    levels = np.full(steps, -np.inf)
    at = 0
    while at < steps:
        word = int(random.integers(2, 9))
        levels[at : at + word] = -25 + random.normal(0, 5, len(levels[at : at + word]))
        at += word + int(random.choice([0, 0, 1, 2, 4]))
    levels[0] = levels[-1] = -25.0
    return levels


def heard(levels: NDArray[np.float64], gain_db: float, seed: int) -> tuple[int | None, ...]:
    """The same speech in a room: quieter, with that room's noise and the blur of its reverberation."""
    random = np.random.default_rng(seed)
    power = 10 ** ((levels + gain_db) / 10)
    if gain_db < 0:
        power = power + 0.3 * np.concatenate([[0.0], power[:-1]])
    noisy = power + 10 ** ((FLOOR_DB + random.normal(0, 1.5, len(levels))) / 10)
    shown = 10 * np.log10(noisy)
    is_voice = 10 * np.log10(power + 1e-12) > FLOOR_DB + 3
    return tuple(round(level) if voice else None for level, voice in zip(shown, is_voice, strict=True))
