"""The frames of a recorded clip as the encoder on the device sees them, and their augmentation for fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.perception.audio import (
    CONTEXT_FRAMES,
    FRAMES_PER_TOKEN,
    MELS,
    PITCH_HISTORY,
    TOKEN_SAMPLES,
    front_end,
    silence,
)

# What fusion trains on, in ln power: microphone gain, and a noise floor in each band. The level of a voice is
# informative (an SVM without it loses 8 points): here it varies by 5 dB either way; for the encoder, by 12 (sound).
GAIN: Final = (-1.2, 1.2)
NOISE: Final = (-27.0, -19.0)
# Octaves that the pitch moves by with each band that the spectrum moves by: at most a tenth of an octave either way.
BAND: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class TokenClip:
    """``frames`` floating [F - 10 + 10 n, 64 + 2] (``front_end``) give n tokens; ``voiced`` bool [n] marks those with
    sound.

    ``label`` is an index into ACTED.
    """

    frames: NDArray[np.floating[Any]]
    voiced: NDArray[np.bool_]
    label: int


def clip_of(samples: NDArray[np.float32], label: int) -> TokenClip:
    """The frames of one clip exactly as the encoder on the device sees them from its ``initial()`` on."""
    count = len(samples) // TOKEN_SAMPLES
    frames = front_end(np.concatenate([np.zeros(PITCH_HISTORY, np.float32), samples[: count * TOKEN_SAMPLES]]))
    level = frames[:, :MELS].reshape(count, -1).max(1)
    return TokenClip(
        np.concatenate([silence(CONTEXT_FRAMES - FRAMES_PER_TOKEN), frames]), level > level.max() - 8, label
    )


def augment(frames: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gain, a noise floor with a tilt, masked bands (SpecAugment, Park et al. 2019) and a shift of pitch: what
    fusion trains on (``pipelines.fusion.tracks``). Frames [B, n, 66] -> log-mel [B, n, 64] and pitch [B, n, 2]."""
    (mel, pitches), (n, bands) = parts(frames), (len(frames), MELS)

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, 1, 1, generator=random) * (high - low) + low).float()

    shift = torch.randint(-2, 3, (n,), generator=random)
    columns = (torch.arange(bands) + shift[:, None]).clamp(0, bands - 1)
    mel = mel.gather(2, columns[:, None].expand_as(mel)) + uniform(*GAIN)
    pitches = pitches - BAND * shift[:, None, None] * torch.tensor([1.0, 0.0])
    tilt = torch.linspace(1, -1, bands) * uniform(0, 2)
    noise = uniform(*NOISE) + tilt + 0.7 * torch.randn(mel.shape, generator=random)
    mel = torch.logaddexp(mel, noise)
    start, width = uniform(-8, bands), uniform(2, 9)
    band = torch.arange(bands)
    masked = (band >= start) & (band < start + width)
    return torch.where(masked, mel.mean((1, 2), keepdim=True), mel), pitches


def parts(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Log-mel [..., 64] and pitch [..., 2] of frames [..., 66]."""
    return frames[..., :MELS], frames[..., MELS:]
