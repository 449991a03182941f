"""Functionals of the pitch of a voice: how high, how it moves, and how much of the sound repeats at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.data.functionals import DEPTH

PARTS = 4
# A frame is voiced from a strength of 0.45 on, wholly from 0.6; between two of them a quarter octave is a leap.
FAINT, CLEAR, LEAP = 0.45, 0.6, 0.25
# The highest and the lowest are means that weigh a frame e times more per this many octaves.
SHARPNESS = 0.1


class Intonation(nn.Module):
    """Windows of log-mel ``[B, F, 64]`` and pitch ``[B, F, 2]`` (``edge_mer.perception.pitch``) -> ``[B, size]``."""

    size = 14 + PARTS + 4

    def forward(self, mel: Tensor, pitch: Tensor) -> Tensor:
        octaves, strength = pitch[..., 0], pitch[..., 1]
        level = mel.amax(2)
        loud = ((level - level.amax(1, keepdim=True) + DEPTH + 1) / 2).clamp(0, 1)
        voiced = ((strength - FAINT) / (CLEAR - FAINT)).clamp(0, 1) * loud
        count = voiced.sum(1, keepdim=True)
        share = voiced / (count + 1e-3)
        mean = (share * octaves).sum(1, keepdim=True)
        centred = octaves - mean
        spread = ((share * centred.square()).sum(1, keepdim=True) + 1e-4).sqrt()
        place = (voiced.cumsum(1) - 0.5 * voiced) / (count + 1e-3)
        high, low = _extreme(share, centred, SHARPNESS), _extreme(share, centred, -SHARPNESS)
        both, move = torch.minimum(voiced[:, 1:], voiced[:, :-1]), octaves[:, 1:] - octaves[:, :-1]
        glide = both * (move.abs() < LEAP)
        pairs, glides = both.sum(1, keepdim=True), glide.sum(1, keepdim=True).clamp(min=0.1)
        repeats = torch.logit(strength.clamp(0.01, 0.99))
        weight = loud / loud.sum(1, keepdim=True)
        ratio = (weight * repeats).sum(1, keepdim=True)
        parts = [voiced * ((place >= k / PARTS) & (place < (k + 1) / PARTS)) for k in range(PARTS)]
        return torch.cat(
            [
                mean,
                spread,
                (share * (centred / spread).clamp(-10, 10).pow(3)).sum(1, keepdim=True),
                high,
                low,
                mean + high,
                mean + low,
                (glide * move.abs()).sum(1, keepdim=True) / glides,
                (glide * move.clamp(min=0)).sum(1, keepdim=True) / glides,
                (pairs - glide.sum(1, keepdim=True)) / (pairs + 0.1),
                (share * (place - 0.5) * centred).sum(1, keepdim=True),
                (share * ((place - 0.5).square() - 1 / 12) * centred).sum(1, keepdim=True),
                (weight * voiced).sum(1, keepdim=True),
                (count + 1).log(),
                *[(part * centred).sum(1, keepdim=True) / (part.sum(1, keepdim=True) + 0.1) for part in parts],
                ratio,
                ((weight * (repeats - ratio).square()).sum(1, keepdim=True) + 1e-3).sqrt(),
                (share * repeats).sum(1, keepdim=True),
                (both * (repeats[:, 1:] - repeats[:, :-1]).abs()).sum(1, keepdim=True) / (pairs + 0.1),
            ],
            1,
        )


def _extreme(share: Tensor, centred: Tensor, sharpness: float) -> Tensor:
    """The mean that leans towards the highest, or with a negative ``sharpness`` the lowest: [B, 1]."""
    weight = share * (centred / sharpness).clamp(-10, 10).exp()
    return (weight * centred).sum(1, keepdim=True) / (weight.sum(1, keepdim=True) + 1e-3)
