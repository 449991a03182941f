"""The model: a branch with experts per modality, a pool and a head per task, adapters by combination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.model.config import MCULoRAConfig, Task
from edge_mer.model.experts import Routing
from edge_mer.model.inputs import Window, select
from edge_mer.model.layers import Branch, Head, Pair, TaskPool
from edge_mer.model.mcla import LowRank, MCLALinear, Selection

__all__ = ["MCULoRA", "Readout", "Trace", "Window", "expected_sentiment", "fold"]

POLARITIES: Final = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Values that training uses beside the result; all by modality.

    ``pairs``: R_com and R_c of the input projection, [B, T, D] each (none in a merged model); ``kept`` bool [B, T];
    ``routing``: one per UniTSE block; ``fused``: the pooled vector of each task, [B, D] or [B, L, D].
    """

    pairs: Mapping[Modality, Pair]
    kept: Mapping[Modality, Tensor]
    routing: Mapping[Modality, list[Routing]]
    fused: Mapping[Task, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """``logits`` [B, C] in the order of EMOTIONS; ``sentiment`` [B, 1] in [-3, 3], of ``polarity`` [B, 3]: logits of
    negative, neutral, positive. In a dialogue [B, L, C], [B, L, 1], [B, L, 3].

    A task that the configuration leaves out gives zeros: equal probabilities, neutral.
    """

    logits: Tensor
    sentiment: Tensor
    polarity: Tensor
    trace: Trace


class MCULoRA(nn.Module):
    """Emotion and sentiment from whichever modalities are present, per window or per utterance of a dialogue.

    Source: MCULoRA (arXiv 2507.11202) in the additive form of ALGORITHMS.md 2.1, with the experts and the pooling of
    MMoLRE (arXiv 2505.14143). The content of an absent modality cannot change one bit of the result.
    """

    def __init__(self, config: MCULoRAConfig | None = None) -> None:
        super().__init__()
        self.config = config or MCULoRAConfig()
        self.branches = nn.ModuleDict({m: Branch(self.config.dims[m], self.config) for m in MODALITIES})
        outputs: dict[Task, int] = {"emotion": self.config.emotions, "sentiment": len(POLARITIES)}
        self.pools = nn.ModuleDict({task: TaskPool(self.config) for task in self.config.tasks})
        self.heads = nn.ModuleDict({task: Head(outputs[task], self.config) for task in self.config.tasks})

    def forward(self, windows: Mapping[Modality, Window], combination: Tensor | None = None) -> Readout:
        """``combination`` int64 indexes COMBINATIONS: [B], or [B, L] in a dialogue (-1 = padding).

        A merged model takes None, and only its own modalities.
        """
        selection = None if combination is None else Selection(combination)
        features: dict[Modality, Tensor] = {}
        masks: dict[Modality, Tensor] = {}
        pairs: dict[Modality, Pair] = {}
        routing: dict[Modality, list[Routing]] = {}
        for m in self.modalities:
            window = windows[m] if combination is None else select(windows[m], m, combination)
            features[m], pair, routing[m] = self.branches[m](window.tokens, window.mask, window.age, selection)
            masks[m] = window.mask
            if pair is not None:
                pairs[m] = pair
        fused = {task: self._fused(i, task, features, masks) for i, task in enumerate(self.config.tasks)}
        out = {task: self.heads[task](x, selection) for task, x in fused.items()}
        some = next(iter(out.values()))[..., :1]
        logits = out["emotion"] if "emotion" in out else some.new_zeros(*some.shape[:-1], self.config.emotions)
        polarity = out["sentiment"] if "sentiment" in out else some.new_zeros(*some.shape[:-1], len(POLARITIES))
        return Readout(
            logits,
            expected_sentiment(polarity)[..., None],
            polarity,
            Trace(pairs, {m: x > 0 for m, x in masks.items()}, routing, fused),
        )

    def _fused(
        self, index: int, task: Task, features: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]
    ) -> Tensor:
        """Over all tokens of the window, or over the modalities of each utterance."""
        # Before any expert, and under hard sharing, all tasks read the same features.
        own = {m: y[min(index, len(y) - 1)] for m, y in features.items()}
        if self.config.readout == "dialogue":
            own = {m: y[..., None, :] for m, y in own.items()}
            masks = {m: mask[..., None] for m, mask in masks.items()}
        out: Tensor = self.pools[task](own, masks)
        return out

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that this model reads, in the order audio, video, text."""
        return tuple(m for m in MODALITIES if m in self.branches)

    def merged(self, combination: Combination) -> MCULoRA:
        """A plain copy for one combination: adapters merged, branches of absent modalities removed, eval mode."""
        plain = deepcopy(self).eval()
        fold(plain, COMBINATIONS.index(combination))
        for m in set(MODALITIES) - set(modalities_of(combination)):
            del plain.branches[m]
        return plain

    def base_parameters(self) -> Iterator[nn.Parameter]:
        """W and b of every adapted layer, and the attention: frozen in stage 1."""
        for name, parameter in self.named_parameters():
            if ".base." in name or ".qkv." in name or ".out." in name:
                yield parameter

    def adapter_parameters(self) -> Iterator[nn.Parameter]:
        """All low-rank pairs, including the shared ones: not trained in stage 0."""
        for module in self.modules():
            if isinstance(module, LowRank):
                yield from module.parameters()


def expected_sentiment(polarity: Tensor) -> Tensor:
    """Logits of negative, neutral, positive [..., 3] -> 3 (P(positive) - P(negative)), [...] in [-3, 3]."""
    odds = torch.softmax(polarity, -1)
    return 3 * (odds[..., 2] - odds[..., 0])


def fold(module: nn.Module, combination: int) -> None:
    """Replace, in place, every adapted layer below ``module`` by its merged form."""
    for name, child in module.named_children():
        if isinstance(child, MCLALinear):
            setattr(module, name, child.merged(combination))
        else:
            fold(child, combination)
