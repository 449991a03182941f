"""Random changes of face crops for training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(faces: Tensor, random: torch.Generator, strength: float = 1.0) -> Tensor:
    """Flip, rotate, scale, shift, light and noise; every fourth is of a small or blurred face; [B, 1, 48, 48]."""
    n, s = len(faces), strength

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=random) * (high - low) + low

    angle, scale = uniform(-0.25 * s, 0.25 * s), uniform(1 - 0.18 * s, 1 + 0.15 * s)
    flip = (uniform(0, 1) < 0.5).float() * -2 + 1
    rows = [torch.cos(angle) * scale * flip, -torch.sin(angle) * scale, uniform(-0.15 * s, 0.15 * s)]
    below = [torch.sin(angle) * scale * flip, torch.cos(angle) * scale, uniform(-0.15 * s, 0.15 * s)]
    affine = torch.stack([torch.stack(rows, 1), torch.stack(below, 1)], 1)
    grid = functional.affine_grid(affine, list(faces.shape), align_corners=False)
    out = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    pixels = int(torch.randint(24, 48, (), generator=random))
    coarse = functional.interpolate(out[::4], (pixels, pixels), mode="area")
    out[::4] = functional.interpolate(coarse, (48, 48), mode="bilinear")
    side_light = torch.linspace(-1, 1, 48) * uniform(-0.3 * s, 0.3 * s, 1, 1, 1)
    contrast, level = uniform(1 - 0.4 * s, 1 + 0.3 * s, 1, 1, 1), uniform(-0.15 * s, 0.15 * s, 1, 1, 1)
    out = (out - 0.5) * contrast * (1 + side_light) + 0.5 + level
    out = out + torch.randn(out.shape, generator=random) * uniform(0, 0.04 * s, 1, 1, 1)
    return out.clamp(0, 1)


def occlude(faces: Tensor, random: torch.Generator) -> Tensor:
    """Half of the faces lose a square of 16 pixels to their own mean (DeVries and Taylor 2017)."""
    y, x = (torch.rand(2, len(faces), 1, generator=random) * 64 - 16).unbind(0)
    where, half = torch.arange(48), torch.rand(len(faces), 1, 1, 1, generator=random) < 0.5
    patch = ((where >= y) & (where < y + 16))[:, None, :, None] & ((where >= x) & (where < x + 16))[:, None, None]
    return torch.where(patch & half, faces.mean((1, 2, 3), keepdim=True), faces)


def jitter(faces: Tensor, random: torch.Generator) -> Tensor:
    """What changes from frame to frame of one face: where the box lies, and the light; as ``augment``."""
    n = len(faces)
    noise = torch.randn(n, 6, generator=random)
    affine = torch.zeros(n, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + 0.03 * noise[:, 0]
    affine[:, :, 2] = 0.03 * noise[:, 1:3]
    grid = functional.affine_grid(affine, list(faces.shape), align_corners=False)
    out = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    return (out * (1 + 0.05 * noise[:, 3])[:, None, None, None]).clamp(0, 1)


def unreadable(faces: Tensor, random: torch.Generator, rough: float = 0.0) -> Tensor:
    """Faces [B, 1, 48, 48] whose lower half is covered by one grey, or by a pattern that differs from it by up to
    ``rough``; or that are hardly lit."""
    n = len(faces)
    height = torch.rand(n, 1, 1, generator=random) * 0.25 + 0.35
    grey = torch.rand(n, 1, 1, 1, generator=random)
    if rough:
        grey = grey + _pattern(n, random) * rough * torch.rand(n, 1, 1, 1, generator=random)
    covered = torch.where((torch.arange(48)[:, None] >= 48 * (1 - height))[:, None], grey.clamp(0, 1), faces)
    light = torch.rand(n, 1, 1, 1, generator=random) * 0.12 + 0.02
    dark = (faces * light + 0.03 * torch.randn(faces.shape, generator=random)).clamp(0, 1)
    return torch.where(torch.rand(n, 1, 1, 1, generator=random) < 0.6, covered, dark)


def _pattern(n: int, random: torch.Generator) -> Tensor:
    """Blots of 8 pixels and grain, [n, 1, 48, 48] in [-1, 1]: cloth, a hand."""
    blots = functional.interpolate(torch.rand(n, 1, 6, 6, generator=random) * 2 - 1, (48, 48), mode="bicubic")
    return (blots + 0.3 * torch.randn(n, 1, 48, 48, generator=random)).clamp(-1, 1)
