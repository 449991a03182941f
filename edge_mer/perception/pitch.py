"""Pitch of a voice per frame: autocorrelation over 50 ms, divided by that of the window (Boersma 1993)."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.encoder import SAMPLE_RATE

WINDOW, HOP, FFT = 800, 200, 1080
# Lags are half samples: at whole samples, a short period would correlate less than twice the period.
FINE: Final = 2
LOWEST_HZ, HIGHEST_HZ, REFERENCE_HZ = 65.0, 500.0, 100.0
_LAGS: Final = np.arange(int(FINE * SAMPLE_RATE / HIGHEST_HZ), int(FINE * SAMPLE_RATE / LOWEST_HZ) + 2)
# Multiples of the period correlate equally well: an octave lower costs this much strength.
_OCTAVE: Final = 0.02
# Below this power per sample, nothing counts as periodic.
_FLOOR: Final = 1e-7

Samples = NDArray[np.float32]


def pitch(samples: Samples) -> Samples:
    """Samples float32 [800 + 200 (n - 1)] at 16 kHz -> [n, 2]: octaves above 100 Hz, and strength in [0, 1].

    The strength is the periodic share of the power; in noise it is low and the octaves are meaningless, in silence both
    are 0.
    """
    window, own = _window()
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    frames = (frames - frames.mean(1, keepdims=True)) * window
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2
    first, last = int(_LAGS[0]) - 1, int(_LAGS[-1]) + 1
    repeated = FINE * np.fft.irfft(power, FINE * FFT)
    repeats = repeated[:, first : last + 1] / (repeated[:, :1] + _FLOOR * WINDOW) / own[first : last + 1]
    left, middle, right = repeats[:, :-2], repeats[:, 1:-1], repeats[:, 2:]
    peak = (middle >= left) & (middle >= right)
    bend, tilt = np.maximum(2 * middle - left - right, 1e-9), right - left
    height = np.where(peak, middle + tilt**2 / (8 * bend), 0)  # vertex of the parabola through the three points
    best = np.where(peak, height - _OCTAVE * np.log2(_LAGS), -np.inf).argmax(1)
    row = np.arange(len(best))
    offset = np.where(peak, tilt / (2 * bend), 0)[row, best].clip(-0.5, 0.5)
    octaves = np.log2(FINE * SAMPLE_RATE / REFERENCE_HZ / (_LAGS[best] + offset))
    strength = height[row, best].clip(0, 1)
    return np.stack([np.where(strength > 0, octaves, 0), strength], 1).astype(np.float32)


@cache
def _window() -> tuple[Samples, Samples]:
    """Hann window [800] and its autocorrelation at every half sample, 1 at lag 0."""
    window = np.hanning(WINDOW + 1)[:-1]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, FFT)) ** 2, FINE * FFT)
    return window.astype(np.float32), (own / own[0]).astype(np.float32)
