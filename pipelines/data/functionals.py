"""Functionals of a voice: what describes a window of log-mel frames as a whole, without anything learned.

With 960 clips of 16 actors, statistics that phonetics has long used (Eyben et al. 2016) beat learned filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_mer.perception.audio import HOP, MELS
from edge_mer.perception.encoder import SAMPLE_RATE

CEPSTRA, COARSE, BANDS, PARTS, HARMONIC = 20, 13, 8, 4, 28
# A frame counts from one nat above to one below this many below the window's loudest: a soft step, zero in silence.
DEPTH = 8.0
# How fast the loudness of a band moves, Hz, in six groups: phrase, word, syllable, ..., roughness.
RATES: Sequence[Sequence[float]] = (
    (0.4, 0.8, 1.2),
    (1.6, 2, 2.5),
    (3, 3.5, 4, 4.5),
    (5, 6, 7),
    (8, 10, 12),
    (15, 20, 28, 36),
)


class Functionals(nn.Module):
    """Windows of log-mel ``[B, F, 64]`` -> ``[B, size]``; silence before and after a voice changes nothing else."""

    size = 4 * MELS + 5 * CEPSTRA + 9 + PARTS * COARSE + BANDS * len(RATES) + 2 * HARMONIC

    def __init__(self, frames: int) -> None:
        super().__init__()
        band, order = torch.arange(MELS) + 0.5, torch.arange(CEPSTRA)[:, None]
        cosine = torch.cos(math.pi / MELS * band * order) * math.sqrt(2 / MELS)
        cosine[0] /= math.sqrt(2)
        self.cosine = nn.Buffer(cosine.T.contiguous(), persistent=False)
        self.coarse = nn.Buffer(torch.eye(BANDS).repeat_interleave(MELS // BANDS, 0) * BANDS / MELS, persistent=False)
        rates = torch.tensor([r for group in RATES for r in group])
        phase = 2 * math.pi * rates * torch.arange(frames)[:, None] * HOP / SAMPLE_RATE
        self.waves = nn.Buffer(torch.cat([phase.cos(), phase.sin()], 1), persistent=False)
        groups = torch.eye(len(RATES)).repeat_interleave(torch.tensor([len(g) for g in RATES]), 0)
        self.groups = nn.Buffer(groups / groups.sum(0), persistent=False)
        near = (torch.arange(HARMONIC)[:, None] - torch.arange(HARMONIC)).abs() <= 2
        self.ripple = nn.Buffer(torch.eye(HARMONIC) - near.float() / near.sum(0), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        level = mel.amax(2, keepdim=True)
        loud = ((level - level.amax(1, keepdim=True) + DEPTH + 1) / 2).clamp(0, 1)
        count = loud.sum(1, keepdim=True)
        share = loud / count
        mean = (share * mel).sum(1, keepdim=True)
        centred = mel - mean
        energy = level + (mel - level).exp().sum(2, keepdim=True).log()
        return torch.cat(
            [
                mean[:, 0],
                _deviation(share, centred),
                *self._timbre(loud, share, mel, centred),
                *_contour(loud, share, count, energy),
                *self._course(loud, count, mel),
                *self._voice(loud, share, count, mel, centred, energy),
            ],
            1,
        )

    def _timbre(self, loud: Tensor, share: Tensor, mel: Tensor, centred: Tensor) -> list[Tensor]:
        """Cepstra: mean, deviation, skewness, first and second difference; and how much each band moves."""
        cepstra = centred @ self.cosine
        spread = _deviation(share, cepstra)
        inner = loud[:, 1:-1] / loud[:, 1:-1].sum(1, keepdim=True).clamp(min=0.1)
        first = (cepstra[:, 2:] - cepstra[:, :-2]) / 2
        second = (first[:, 2:] - first[:, :-2]) / 2
        moves = ((mel[:, 2:] - mel[:, :-2]) / 2).abs()
        return [
            (share * (mel @ self.cosine)).sum(1),
            spread,
            _skewness(share, cepstra, spread),
            _deviation(inner, first),
            _deviation(inner[:, 1:-1], second),
            (inner * moves).sum(1),
        ]

    def _course(self, loud: Tensor, count: Tensor, mel: Tensor) -> list[Tensor]:
        """The coarse spectrum in each quarter of what is loud."""
        cepstra, place = mel @ self.cosine[:, :COARSE], _place(loud, count)
        parts = [loud * ((place >= k / PARTS) & (place < (k + 1) / PARTS)).to(mel.dtype) for k in range(PARTS)]
        return [(part / part.sum(1, keepdim=True).clamp(min=0.1) * cepstra).sum(1) for part in parts]

    def _voice(
        self, loud: Tensor, share: Tensor, count: Tensor, mel: Tensor, centred: Tensor, energy: Tensor
    ) -> list[Tensor]:
        """The spectrum where it is loudest, how its bands swell and sink, and the ripple of its harmonics."""
        stress = loud * (energy - energy.amax(1, keepdim=True)).exp()
        swell = (loud * (centred @ self.coarse) / count).transpose(1, 2) @ self.waves
        half = swell.shape[-1] // 2
        power = (swell[..., :half].square() + swell[..., half:].square()) @ self.groups
        ripple = mel[..., :HARMONIC] @ self.ripple
        return [
            (stress * centred).sum(1) / stress.sum(1),
            (power + 1e-4).log().flatten(1),
            (share * ripple.abs()).sum(1),
            (share * ripple).sum(1),
        ]


def _contour(loud: Tensor, share: Tensor, count: Tensor, energy: Tensor) -> list[Tensor]:
    """Of the loudness: mean, deviation, peak, skewness, slope, curve and movement; how long, and how broken."""
    mean = (share * energy).sum(1, keepdim=True)
    centred, place = energy - mean, _place(loud, count) - 0.5
    spread = _deviation(share, centred)
    inner = loud[:, 1:-1] / loud[:, 1:-1].sum(1, keepdim=True).clamp(min=0.1)
    return [
        mean[:, 0],
        spread,
        centred.amax(1),
        _skewness(share, centred, spread),
        (share * place * energy).sum(1),
        (share * (place.square() - 1 / 12) * energy).sum(1),
        (inner * ((energy[:, 2:] - energy[:, :-2]) / 2).abs()).sum(1),
        count[:, 0].log(),
        (loud[:, 1:] - loud[:, :-1]).abs().sum(1),
    ]


def _place(loud: Tensor, count: Tensor) -> Tensor:
    """Where each frame stands in what is loud, from 0 to 1."""
    return (loud.cumsum(1) - 0.5 * loud) / count


def _deviation(share: Tensor, centred: Tensor) -> Tensor:
    return (share * centred.square()).sum(1).clamp(min=1e-3).sqrt()


def _skewness(share: Tensor, centred: Tensor, spread: Tensor) -> Tensor:
    return (share * (centred / spread[:, None]).clamp(-10, 10).pow(3)).sum(1)
