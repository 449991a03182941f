"""MCLA: a linear layer with a shared low-rank pair and one pair per modality combination."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from edge_mer.domain import COMBINATIONS


class PlainLinear(nn.Linear):
    """A linear layer that fits where an adapted one was: it ignores the combination."""

    def forward(self, x: Tensor, combination: Tensor | None = None) -> Tensor:
        return super().forward(x)


class MCLALinear(nn.Module):
    """y = W x + b + (B_sh A_sh + B_c A_c) x, with c the sample's combination; x [B, ..., d_in].

    Source: MCULoRA (arXiv 2507.11202), additive form of algorithms.md 1b. The scale alpha / r is 1. Each pair is
    its own Parameter, and only the pairs of combinations in the batch enter the graph: the others keep grad None,
    so that no optimizer moves them.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = PlainLinear(inputs, outputs)
        self.drop = nn.Dropout(dropout)
        self.shared_a, self.shared_b = _pair(inputs, outputs, rank)
        pairs = [_pair(inputs, outputs, rank) for _ in COMBINATIONS]
        self.specific_a = nn.ParameterList(a for a, _ in pairs)
        self.specific_b = nn.ParameterList(b for _, b in pairs)

    def forward(self, x: Tensor, combination: Tensor) -> Tensor:
        common, specific = self.low_rank(x, combination)
        out: Tensor = self.base(x) + common + specific
        return out

    def low_rank(self, x: Tensor, combination: Tensor) -> tuple[Tensor, Tensor]:
        """R_com = B_sh A_sh x and R_c = B_c A_c x, each [B, ..., d_out] (for L_ort and DPFT)."""
        x = self.drop(x)
        chosen, of_sample = torch.unique(combination, return_inverse=True)
        a = torch.stack([self.specific_a[i] for i in chosen.tolist()])[of_sample]
        b = torch.stack([self.specific_b[i] for i in chosen.tolist()])[of_sample]
        flat = x.reshape(len(x), -1, x.shape[-1])
        specific = (flat @ a.transpose(1, 2)) @ b.transpose(1, 2)
        common = (x @ self.shared_a.T) @ self.shared_b.T
        return common, specific.reshape(common.shape)

    def merged(self, combination: int) -> PlainLinear:
        """The same function of one combination as a plain layer, W_c = W + B_sh A_sh + B_c A_c."""
        plain = deepcopy(self.base)
        with torch.no_grad():
            plain.weight += self.shared_b @ self.shared_a
            plain.weight += self.specific_b[combination] @ self.specific_a[combination]
        return plain


Linear = MCLALinear | PlainLinear


def _pair(inputs: int, outputs: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A Kaiming-uniform [r, d_in], B zero [d_out, r]: the adapter starts as the zero function, but is alive."""
    a = nn.Parameter(torch.empty(rank, inputs))
    nn.init.kaiming_uniform_(a, a=math.sqrt(5))
    return a, nn.Parameter(torch.zeros(outputs, rank))
