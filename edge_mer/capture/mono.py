"""Sound of any rate and any number of channels as 16 kHz mono, sample for sample. No clock, no device.

Channels are weighted by their energy, and those in opposite phase to the strongest one are turned: nothing cancels, and
one live channel of many keeps its level. The same samples give the same sound, however they are cut into calls.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_mer.contract.raw import SAMPLE_RATE

# Weights follow the last half second or so, in steps of a hundredth.
FRAMES_PER_S, MEMORY = 100, 0.02
# Energy is that of steps between means of so many pieces a second: hiss, offset and rumble hardly count.
PIECES_PER_S: Final = 4_000
# Correlation with the strongest channel below which a channel is in opposite phase; noise alone stays above it.
OPPOSITE: Final = -0.5
# soxr's 16-bit quality: above it, the delay grows up to 80 ms.
QUALITY: Final = "MQ"
FULL_SCALE: Final = 32_768

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]


class Downmix:
    """Float32 [n, channels] to [n]. Output comes in whole frames of 10 ms; the rest waits for the next call."""

    def __init__(self, rate: int, channels: int) -> None:
        self._frame, self._piece = max(1, rate // FRAMES_PER_S), max(1, rate // PIECES_PER_S)
        self._rest = np.empty((0, channels), np.float32)
        self._before: Samples | None = None
        self._covariance: NDArray[np.float64] | None = None
        self._weights: Samples | None = None

    @property
    def weights(self) -> Samples | None:
        """Of each channel in the newest frame; None before the first sound."""
        return self._weights

    def feed(self, samples: Samples) -> Samples:
        if samples.shape[1] == 1:
            return samples[:, 0]
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) - len(joined) % self._frame
        self._rest = joined[whole:]
        mixed = [self._mix(joined[i : i + self._frame]) for i in range(0, whole, self._frame)]
        return np.concatenate([*mixed, np.empty(0, np.float32)])

    def end(self) -> Samples:
        """What waits."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._mix(rest) if len(rest) else np.empty(0, np.float32)

    def _mix(self, frame: Samples) -> Samples:
        """The weights change within the frame, so that there is no step."""
        pieces = self._pieces(frame)
        before = pieces[:1] if self._before is None else self._before
        moving = np.diff(np.concatenate([before, pieces]), axis=0).astype(np.float64)
        self._before = pieces[-1:]
        now = moving.T @ moving / len(pieces)
        self._covariance = now if self._covariance is None else self._covariance + MEMORY * (now - self._covariance)
        if not self._covariance.any():
            self._covariance = None  # silence: the first sound counts at once
            return np.zeros(len(frame), np.float32)
        weights = weights_of(self._covariance)
        last, self._weights = weights if self._weights is None else self._weights, weights
        part = (np.arange(1, len(frame) + 1, dtype=np.float32) / np.float32(len(frame)))[:, None]
        mixed: Samples = (frame * (last + part * (weights - last))).sum(axis=1, dtype=np.float32)
        return mixed

    def _pieces(self, frame: Samples) -> Samples:
        whole = len(frame) - len(frame) % self._piece
        return frame[:whole].reshape(-1, self._piece, frame.shape[1]).mean(axis=1) if whole else frame


def weights_of(covariance: NDArray[np.float64]) -> Samples:
    """Weights of channels [c] with this covariance [c, c]: their share of the energy, negative in opposite phase."""
    energy = np.diag(covariance)
    strongest = int(np.argmax(energy))
    scale = np.sqrt(energy * energy[strongest])
    alike = np.divide(covariance[strongest], scale, out=np.zeros_like(scale), where=scale > 0)
    return np.asarray(np.where(alike < OPPOSITE, -1, 1) * energy / energy.sum(), np.float32)


class MonoStream:
    """Float32 [n, channels] at ``rate`` to int16 [m] at 16 kHz. Sample k of the output is time k / 16000 of the
    input; ``MQ`` of soxr keeps up to 42 ms back."""

    def __init__(self, rate: int, channels: int) -> None:
        self._downmix = Downmix(rate, channels)
        self._rate, self._received, self._returned = rate, 0, 0
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", QUALITY)

    @property
    def weights(self) -> Samples | None:
        return self._downmix.weights

    @property
    def kept(self) -> int:
        """Samples of the output that the input so far will still give."""
        return round(self._received * SAMPLE_RATE / self._rate) - self._returned

    def feed(self, samples: Samples, last: bool = False) -> Pcm:
        """``last``: return also what was kept back. NaN and Inf are silence."""
        self._received += len(samples)
        mono = self._downmix.feed(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0))
        if last:
            mono = np.concatenate([mono, self._downmix.end()])
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        self._returned += len(mono)
        return int16(mono)


def int16(samples: Samples) -> Pcm:
    """Full scale is 1; louder is clipped."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    return np.asarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1), np.int16)
