"""MCLA: a linear layer with a shared low-rank pair and one pair per modality combination."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.model.config import MCULoRAConfig


@dataclass(frozen=True, eq=False)
class Selection:
    """The combination of each sample or position: ``index`` int64 [B] or [B, L], indices of COMBINATIONS, -1 for none.

    A forward pass makes one for all layers: to know which pairs a batch needs, a GPU has to be waited for.
    """

    index: Tensor

    @cached_property
    def pairs(self) -> list[int]:
        """The combinations of the batch, rising."""
        return [c for c in torch.unique(self.index).tolist() if c >= 0]


class PlainLinear(nn.Linear):
    """A linear layer with the interface of an adapted one: it ignores the combination."""

    def forward(self, x: Tensor, selection: Selection | None = None) -> Tensor:
        return super().forward(x)


class LowRank(nn.Module):
    """One pair: x [..., d_in] -> B A x [..., d_out], with A Kaiming-uniform [r, d_in] and B zero [d_out, r].

    It starts as the zero function, but B gets a gradient from the first step.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.a.T) @ self.b.T


class MCLALinear(nn.Module):
    """y = W x + b + (B_sh A_sh + B_c A_c) x, with c the combination of the sample or of the position.

    Source: MCULoRA (arXiv 2507.11202), additive form of ALGORITHMS.md 2.1. The scale alpha / r is 1. Each pair is
    its own Parameter, and only the pairs of combinations in the batch enter the graph: the others keep grad None,
    so that no optimizer moves them.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, dropout: float = 0.0, shared: bool = True) -> None:
        super().__init__()
        self.rank = rank
        self.base = PlainLinear(inputs, outputs)
        self.drop = nn.Dropout(dropout)
        self.shared = LowRank(inputs, outputs, rank) if shared else None
        self.specific = nn.ModuleList(LowRank(inputs, outputs, rank) for _ in COMBINATIONS)

    def forward(self, x: Tensor, selection: Selection) -> Tensor:
        """x [B, ..., d_in]; the selection is over the leading axes of x, -1 for no pair."""
        common, specific = self.low_rank(x, selection)
        out: Tensor = self.base(x) + common + specific
        return out

    def low_rank(self, x: Tensor, selection: Selection) -> tuple[Tensor, Tensor]:
        """R_com = B_sh A_sh x and R_c = B_c A_c x, each [B, ..., d_out] (for L_ort and DPFT)."""
        x = self.drop(x)
        chosen, combination = selection.pairs, selection.index
        zero = x.new_zeros(*x.shape[:-1], self.base.out_features)
        common = zero if self.shared is None else self.shared(x)
        if not chosen:
            return common, zero
        # Side by side in one matrix; each position keeps only the columns of its own pair.
        a = torch.cat([self._pair(c).a for c in chosen])
        b = torch.cat([self._pair(c).b for c in chosen], 1)
        owner = torch.tensor(chosen, device=x.device).repeat_interleave(self.rank)
        index = combination.reshape(*combination.shape, *[1] * (x.dim() - combination.dim()))
        hidden = x @ a.T
        specific = torch.where(index == owner, hidden, torch.zeros_like(hidden)) @ b.T
        return common, specific

    def merged(self, combination: int) -> PlainLinear:
        """The same function of one combination as a plain layer, W_c = W + B_sh A_sh + B_c A_c."""
        plain = deepcopy(self.base)
        with torch.no_grad():
            for pair in (self.shared, self._pair(combination)):
                if pair is not None:
                    plain.weight += pair.b @ pair.a
        return plain

    def _pair(self, combination: int) -> LowRank:
        pair = self.specific[combination]
        assert isinstance(pair, LowRank)
        return pair


def adapted(inputs: int, outputs: int, rank: int, config: MCULoRAConfig) -> MCLALinear | PlainLinear:
    """An adapted layer, or a plain one when the configuration has no adapters."""
    if not config.adapters:
        return PlainLinear(inputs, outputs)
    return MCLALinear(inputs, outputs, rank, config.adapter_dropout, config.shared_pair)
