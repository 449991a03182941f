"""The model: a branch per modality, a pool and a head per task, adapters by combination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_mer.domain import COMBINATIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.model.config import MCULoRAConfig
from edge_mer.model.layers import Branch, Head, TaskPool
from edge_mer.model.mcla import MCLALinear


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Tokens of one modality: ``tokens`` [B, T, d], ``mask`` [B, T] (1 = valid), ``age`` [B, T] seconds, >= 0."""

    tokens: Tensor
    mask: Tensor
    age: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """``logits`` [B, 7] in the order of EMOTIONS; ``sentiment`` [B, 1] in [-3, 3]."""

    logits: Tensor
    sentiment: Tensor


class MCULoRA(nn.Module):
    """Emotion and sentiment from the windows of whichever modalities are present.

    Source: MCULoRA (arXiv 2507.11202) in the additive form of algorithms.md 1b, with the pooling of MMoLRE
    (arXiv 2505.14143). The content of an absent modality cannot change one bit of the result.
    """

    def __init__(self, config: MCULoRAConfig | None = None) -> None:
        super().__init__()
        self.config = config or MCULoRAConfig()
        self.branches = nn.ModuleDict({m: Branch(self.config.dims[m], self.config) for m in MODALITIES})
        self.emotion_pool, self.sentiment_pool = TaskPool(self.config), TaskPool(self.config)
        self.emotion_head = Head(self.config.emotions, self.config)
        self.sentiment_head = Head(1, self.config)

    def forward(self, windows: Mapping[Modality, Window], combination: Tensor | None = None) -> Readout:
        """``combination`` int64 [B] indexes COMBINATIONS; a merged model takes None and only its own modalities."""
        features: dict[Modality, Tensor] = {}
        masks: dict[Modality, Tensor] = {}
        for m in self.modalities:
            window = windows[m] if combination is None else _select(windows[m], m, combination)
            features[m] = self.branches[m](window.tokens, window.mask, window.age, combination)
            masks[m] = window.mask
        logits = self.emotion_head(self.emotion_pool(features, masks), combination)
        sentiment = self.sentiment_head(self.sentiment_pool(features, masks), combination)
        return Readout(logits, 3 * torch.tanh(sentiment))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that this model reads, in the order audio, video, text."""
        return tuple(m for m in MODALITIES if m in self.branches)

    def merged(self, combination: Combination) -> MCULoRA:
        """A plain copy for one combination: adapters folded in, branches of absent modalities gone, eval mode."""
        plain = deepcopy(self).eval()
        fold(plain, COMBINATIONS.index(combination))
        for m in set(MODALITIES) - set(modalities_of(combination)):
            del plain.branches[m]
        return plain

    def base_parameters(self) -> Iterator[nn.Parameter]:
        """W and b of every adapted layer, and the attention: what stage 1 freezes."""
        for name, parameter in self.named_parameters():
            if ".base." in name or ".qkv." in name or ".out." in name:
                yield parameter


def fold(module: nn.Module, combination: int) -> None:
    """Replace, in place, every adapted layer below ``module`` by its merged form."""
    for name, child in module.named_children():
        if isinstance(child, MCLALinear):
            setattr(module, name, child.merged(combination))
        else:
            fold(child, combination)


def _select(window: Window, modality: Modality, combination: Tensor) -> Window:
    """Hard mask: where the sample's combination lacks ``modality``, its tokens, ages and mask become zero."""
    table = torch.tensor([modality in modalities_of(c) for c in COMBINATIONS], device=combination.device)
    present = table[combination]

    def keep(x: Tensor) -> Tensor:
        return torch.where(present.view(-1, *[1] * (x.dim() - 1)), x, torch.zeros_like(x))

    return Window(keep(window.tokens), keep(window.mask), keep(window.age))
