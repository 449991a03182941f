"""What training does to a batch before the model sees it: lost tokens, noise, mixup."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from edge_mer.model import Window
from pipelines.fusion.samples import Samples


def augmented(some: Samples, drop: float, noise: float) -> Samples:
    """Noise on the standardised inputs; each sample loses up to ``drop`` of its tokens.

    Where a modality is one vector (per clip, or per utterance of a dialogue) ``drop`` of its features are lost instead,
    and the rest scaled up.
    """
    windows = {}
    for m, w in some.windows.items():
        tokens = w.tokens + noise * torch.randn_like(w.tokens)
        if some.dialogue or tokens.shape[1] == 1:
            windows[m] = Window(torch.nn.functional.dropout(tokens, drop), w.mask, w.age)
            continue
        rate = torch.rand(len(tokens), 1, device=tokens.device) * drop
        kept = w.mask * (torch.rand_like(w.mask) >= rate)
        # The newest valid token stays rather than that nothing is left.
        mask = torch.where(kept.sum(1, keepdim=True) > 0, kept, w.mask)
        windows[m] = Window(tokens, mask, w.age)
    return replace(some, windows=windows)


def mixed(some: Samples, alpha: float, random: np.random.Generator) -> tuple[Samples, float, Tensor]:
    """Mixup (Zhang et al. 2018): a share of each sample, which is returned, and the rest of its partner in the
    permutation [S], returned too. Tokens are added where both have one; elsewhere whichever is there stays."""
    share = float(random.beta(alpha, alpha))
    order = torch.from_numpy(random.permutation(len(some))).to(some.row.device)
    windows = {}
    for m, w in some.windows.items():
        other, there, others = w.tokens[order], w.mask[..., None] > 0, w.mask[order][..., None] > 0
        both = share * w.tokens + (1 - share) * other
        tokens = torch.where(there & others, both, torch.where(there, w.tokens, other))
        windows[m] = Window(tokens, torch.maximum(w.mask, w.mask[order]), w.age)
    return replace(some, windows=windows), share, order
