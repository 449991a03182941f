"""Blocks of one modality's branch and the task-adaptive pooling over all of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.domain import Modality
from edge_mer.model.config import MCULoRAConfig
from edge_mer.model.mcla import MCLALinear

# Added to the scores of masked tokens: exp underflows to exactly 0, and FP16 can hold it (-inf gives NaN rows).
MASKED = -1e4
# Rates (1/s) of the decaying exponentials that code a token's age; smooth, bounded, any age is defined.
AGE_RATES = (4.0, 2.0, 1.0, 0.5, 0.25)


class Block(nn.Module):
    """Pre-norm attention over the tokens of one modality, then an adapted two-layer network; x [B, T, D]."""

    def __init__(self, config: MCULoRAConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.expansion
        self.heads = config.heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1 = MCLALinear(width, hidden, config.block_rank, config.adapter_dropout)
        self.fc2 = MCLALinear(hidden, width, config.block_rank, config.adapter_dropout)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, combination: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5
        weights = torch.softmax(scores + ((1 - mask) * MASKED)[:, None, None], -1)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).reshape(batch, length, width)))
        hidden = functional.gelu(self.fc1(self.before_network(x), combination))
        out: Tensor = x + self.drop(self.fc2(self.drop(hidden), combination))
        return out


class Branch(nn.Module):
    """One modality: adapted input projection, age of each token, blocks. Masked tokens leave it as zeros."""

    def __init__(self, inputs: int, config: MCULoRAConfig) -> None:
        super().__init__()
        self.project = MCLALinear(inputs, config.width, config.rank, config.adapter_dropout)
        self.age = nn.Linear(len(AGE_RATES), config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.last = nn.LayerNorm(config.width)
        self.drop = nn.Dropout(config.dropout)
        self.rates = nn.Buffer(torch.tensor(AGE_RATES), persistent=False)

    def forward(self, tokens: Tensor, mask: Tensor, age: Tensor, combination: Tensor | None) -> Tensor:
        """tokens [B, T, d], mask [B, T] (1 = valid), age [B, T] seconds -> [B, T, D]."""
        kept = (mask > 0)[..., None]
        # Selected, not multiplied: 0 x NaN is NaN.
        tokens = torch.where(kept, tokens, torch.zeros_like(tokens))
        age = torch.where(kept, age[..., None], torch.zeros_like(age[..., None]))
        x = self.drop(self.project(tokens, combination) + self.age(torch.exp(-age * self.rates)))
        for block in self.blocks:
            x = block(x, mask, combination)
        x = self.last(x)
        return torch.where(kept, x, torch.zeros_like(x))


class TaskPool(nn.Module):
    """Task-adaptive fusion (MMoLRE, algorithms.md 2b): one softmax over all valid tokens of all modalities.

    e = w . tanh(U y) + b_m; the result is the weighted mean, [B, D].
    """

    def __init__(self, config: MCULoRAConfig) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(config.width, config.width), nn.Linear(config.width, 1, bias=False)
        self.modality = nn.ParameterDict({m: nn.Parameter(torch.zeros(())) for m in config.dims})

    def forward(self, features: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> Tensor:
        tokens = torch.cat(list(features.values()), 1)
        scores = [
            self.score(torch.tanh(self.hidden(y)))[..., 0] + self.modality[m] + (1 - masks[m]) * MASKED
            for m, y in features.items()
        ]
        weights = torch.softmax(torch.cat(scores, 1), -1)
        return (weights[:, None] @ tokens)[:, 0]


class Head(nn.Module):
    """Adapted two-layer head of one task: [B, D] -> [B, outputs]."""

    def __init__(self, outputs: int, config: MCULoRAConfig) -> None:
        super().__init__()
        self.fc1 = MCLALinear(config.width, config.width, config.rank, config.adapter_dropout)
        self.fc2 = MCLALinear(config.width, outputs, config.rank, config.adapter_dropout)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, combination: Tensor | None) -> Tensor:
        out: Tensor = self.fc2(self.drop(functional.gelu(self.fc1(x, combination))), combination)
        return out
