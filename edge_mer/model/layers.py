"""Blocks of one modality's branch, the task-adaptive pooling over all of them, and the heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.contract.domain import Modality
from edge_mer.model.config import MCULoRAConfig
from edge_mer.model.experts import Routing, UniTSE
from edge_mer.model.mcla import MCLALinear, Selection, adapted

# Added to the scores of masked tokens: exp underflows to exactly 0, and FP16 can hold it (-inf gives NaN rows).
MASKED = -1e4
# Rates (1/s) of the decaying exponentials that code a token's age; smooth, bounded, any age is defined.
AGE_RATES = (4.0, 2.0, 1.0, 0.5, 0.25)

Pair = tuple[Tensor, Tensor]
"""R_com and R_c of an input projection, each [B, T, D]."""


class Block(nn.Module):
    """Pre-norm attention over the tokens of one modality, then an adapted two-layer network; x [B, T, D]."""

    def __init__(self, config: MCULoRAConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.expansion
        self.heads = config.heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1 = adapted(width, hidden, config.block_rank, config)
        self.fc2 = adapted(hidden, width, config.block_rank, config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, selection: Selection | None) -> Tensor:
        x = x + self.drop(self.out(self._attended(self.before_attention(x), mask)))
        hidden = functional.gelu(self.fc1(self.before_network(x), selection))
        out: Tensor = x + self.drop(self.fc2(self.drop(hidden), selection))
        return out

    def _attended(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        if length == 1:  # a softmax over one token is 1, and a static graph need not compute that
            return functional.linear(x, self.qkv.weight[2 * width :], self.qkv.bias[2 * width :])
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5
        weights = torch.softmax(scores + ((1 - mask) * MASKED)[:, None, None], -1)
        out: Tensor = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        return out


class Branch(nn.Module):
    """One modality: adapted input projection, age of each token, blocks, experts. Masked tokens are zero in the output.

    Utterances of a dialogue have no age: the convolution of the experts encodes their order.
    """

    def __init__(self, inputs: int, config: MCULoRAConfig) -> None:
        super().__init__()
        self.project = adapted(inputs, config.width, config.rank, config)
        self.age = nn.Linear(len(AGE_RATES), config.width) if config.readout == "window" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.last = nn.LayerNorm(config.width)
        self.experts = nn.ModuleList(UniTSE(config) for _ in range(config.expert_blocks))
        self.drop = nn.Dropout(config.dropout)
        self.rates = nn.Buffer(torch.tensor(AGE_RATES), persistent=False)

    def forward(
        self, tokens: Tensor, mask: Tensor, age: Tensor, selection: Selection | None
    ) -> tuple[Tensor, Pair | None, list[Routing]]:
        """tokens [B, T, d], mask [B, T] (1 = valid), age [B, T] s -> [K or 1, B, T, D], R_com and R_c, routing."""
        kept = mask > 0
        # Selected, not multiplied: 0 x NaN is NaN. Tokens are not mixed before the blocks, so a merged model may select
        # once, after the projection; in training the gradient of unselected tokens would still be 0 x NaN.
        merged = selection is None
        x, pair = self._projected(tokens if merged else _kept(tokens, kept), selection)
        if self.age is not None:
            seconds = age[..., None] if merged else _kept(age[..., None], kept)
            x = x + self.age(torch.exp(-seconds * self.rates))
        x = self.drop(_kept(x, kept) if merged else x)
        for block in self.blocks:
            x = block(x, mask, selection)
        y = _kept(self.last(x), kept)[None]
        routing: list[Routing] = []
        for experts in self.experts:
            y, routed = experts(y, kept)
            routing.append(routed)
        return y, pair, routing

    def _projected(self, tokens: Tensor, selection: Selection | None) -> tuple[Tensor, Pair | None]:
        if not isinstance(self.project, MCLALinear) or selection is None:
            return self.project(tokens, selection), None
        common, specific = self.project.low_rank(tokens, selection)
        return self.project.base(tokens) + common + specific, (common, specific)


class TaskPool(nn.Module):
    """Task-adaptive fusion (MMoLRE, ALGORITHMS.md 3.2): features of all modalities -> one vector of a task.

    The score of a vector y is w . tanh(U y). "joint": one softmax over the valid tokens of all modalities, of the score
    + b_m; the result is the weighted mean, and modalities compete. "each": a softmax over the tokens of each modality;
    the result is the sum of their means, so that evidence of two modalities adds up, as in a product of experts.
    "adaptive": as "each", and a softmax over the means of the n modalities that are present, of their own score + b_m,
    weighs them; n times the weighted mean, which is the sum of "each" where all weigh alike.
    """

    def __init__(self, config: MCULoRAConfig) -> None:
        super().__init__()
        self.kind, width = config.pool, config.width
        self.hidden, self.score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)
        names = () if self.kind == "each" else config.dims
        self.modality = nn.ParameterDict({m: nn.Parameter(torch.zeros(())) for m in names})
        if self.kind == "adaptive":
            self.across, self.across_score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)

    def forward(self, features: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> Tensor:
        """Each modality's features [..., n_m, D] and mask [..., n_m] -> [..., D]."""
        if self.kind == "joint":
            tokens = torch.cat(list(features.values()), -2)
            prior = torch.cat([self.modality[m].expand(y.shape[-2]) for m, y in features.items()])
            mask = torch.cat([masks[m] for m in features], -1)
            return _weighted_mean(tokens, _scores(tokens, self.hidden, self.score) + prior, mask)
        means = torch.stack(
            [_weighted_mean(y, _scores(y, self.hidden, self.score), masks[m]) for m, y in features.items()], -2
        )
        if self.kind == "each":
            return means.sum(-2)
        present = torch.stack([masks[m].amax(-1) for m in features], -1)
        prior = torch.stack([self.modality[m] for m in features])
        scores = _scores(means, self.across, self.across_score) + prior
        return _weighted_mean(means, scores, present) * present.sum(-1, keepdim=True)


def _scores(y: Tensor, hidden: nn.Module, score: nn.Module) -> Tensor:
    """w . tanh(U y): [..., n, D] -> [..., n]."""
    out: Tensor = score(torch.tanh(hidden(y)))
    return out[..., 0]


def _weighted_mean(y: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of the scores of what is not masked, [..., n], over y [..., n, D] -> [..., D]."""
    return (torch.softmax(scores + (1 - mask) * MASKED, -1)[..., None, :] @ y)[..., 0, :]


class Head(nn.Module):
    """Adapted two-layer head of one task: [B, D] -> [B, outputs], or [B, L, D] -> [B, L, outputs]."""

    def __init__(self, outputs: int, config: MCULoRAConfig) -> None:
        super().__init__()
        self.fc1 = adapted(config.width, config.width, config.rank, config)
        self.fc2 = adapted(config.width, outputs, config.rank, config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, selection: Selection | None) -> Tensor:
        out: Tensor = self.fc2(self.drop(functional.gelu(self.fc1(x, selection))), selection)
        return out


def _kept(x: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept[..., None], x, x.new_zeros(()))
