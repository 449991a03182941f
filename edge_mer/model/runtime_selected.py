"""One graph for all combinations: every adapted layer gathers its pair by the combination of the sample."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.model.mcla import LowRank, MCLALinear, Selection
from edge_mer.model.mculora import MCULoRA


class GatheredLinear(nn.Module):
    """y = (W + B_sh A_sh) x + B[c] A[c] x: the pairs of all combinations in two tensors, chosen by an index.

    The same function as ``MCLALinear`` in eval mode, without operations that a static graph cannot contain
    (ALGORITHMS.md 5.3).
    """

    def __init__(self, adapted: MCLALinear) -> None:
        super().__init__()
        pairs = [pair for pair in adapted.specific if isinstance(pair, LowRank)]
        self.base = deepcopy(adapted.base)
        self.a = nn.Parameter(torch.stack([pair.a.detach().T for pair in pairs]))
        self.b = nn.Parameter(torch.stack([pair.b.detach().T for pair in pairs]))
        if adapted.shared is not None:
            with torch.no_grad():
                self.base.weight += adapted.shared.b @ adapted.shared.a

    def forward(self, x: Tensor, selection: Selection) -> Tensor:
        """x [B, ..., d_in], a selection of [B] in 0..6 -> [B, ..., d_out]."""
        combination = selection.index
        rows = x if x.dim() == 3 else x[:, None]
        a, b = self.a.index_select(0, combination), self.b.index_select(0, combination)
        out: Tensor = self.base(rows) + (rows @ a) @ b
        return out if x.dim() == 3 else out[:, 0]


def gathered(model: MCULoRA) -> MCULoRA:
    """A copy in eval mode that takes any mixture of combinations; its windows hold all modalities.

    For the window readout only. An absent modality's content is ignored, as in the model itself.
    """
    plain = deepcopy(model).eval()
    _replace(plain)
    return plain


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, MCLALinear):
            assert len(child.specific) == len(COMBINATIONS)
            setattr(module, name, GatheredLinear(child))
        else:
            _replace(child)
