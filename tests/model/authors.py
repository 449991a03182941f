"""The module shape of MCULoRA's first release, re-implemented from its equations (ALGORITHMS.md 2.1) for timing.

Every adapted layer computes its common output and those of all eight combinations, each times its scale (1.0 in the
release, still computed); the heads of single modalities are computed too, though no result uses them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.contract.domain import MODALITIES, Modality

PAIRS = 8
SCALE = 1.0


class AdapterLinear(nn.Module):
    """y = W x + b + s B_sh A_sh x and z_k = W x + b + s B_k A_k u_k for k = 0..7."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.a = nn.ParameterList(torch.randn(rank, inputs) * 0.1 for _ in range(PAIRS + 1))
        self.b = nn.ParameterList(torch.randn(outputs, rank) * 0.1 for _ in range(PAIRS + 1))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, u: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        plain, dropped = self.base(x), self.drop(x)
        y = plain + (dropped @ self.a[PAIRS].T) @ self.b[PAIRS].T * SCALE
        inputs = [dropped] * PAIRS if u is None else u
        return y, [plain + (v @ self.a[k].T) @ self.b[k].T * SCALE for k, v in enumerate(inputs)]


class AuthorsBlock(nn.Module):
    """Two heads, no layer norm, no output projection; fc1 and fc2 adapted, the specific paths linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.fc1, self.fc2 = AdapterLinear(width, width, 8), AdapterLinear(width, width, 8)
        self.drop = nn.Dropout(0.5)

    def forward(self, h: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        batch, length, width = h.shape
        q, k, v = (f(h).view(batch, length, 2, width // 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = ((q * (width // 2) ** -0.5) @ k.transpose(-1, -2)).masked_fill(mask[:, None, None] == 0, -torch.inf)
        weights = torch.softmax(scores, -1)
        weights = torch.where(torch.isnan(weights), torch.zeros_like(weights), weights)
        o = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        f, z = self.fc1(o)
        f, z = self.fc2(self.drop(functional.gelu(f)), z)
        return h + (o + self.drop(f)), z


class Authors(nn.Module):
    """Input projections, ``depth`` blocks per modality, proj1 and head on the concatenation, a head per modality."""

    def __init__(self, dims: Mapping[Modality, int], width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.ModuleDict({m: AdapterLinear(dims[m], width, 4) for m in MODALITIES})
        self.blocks = nn.ModuleDict({m: nn.ModuleList(AuthorsBlock(width) for _ in range(depth)) for m in MODALITIES})
        self.proj1, self.head = AdapterLinear(3 * width, 3 * width, 4), AdapterLinear(3 * width, outputs, 4)
        self.alone = nn.ModuleDict({m: nn.Linear(width, outputs) for m in MODALITIES})
        self.drop = nn.Dropout(0.5)

    def forward(self, given: Mapping[Modality, Tensor], mask: Tensor, combination: int) -> Tensor:
        """Each modality [B, L, d_m], mask [B, L] -> [B, L, outputs]."""
        common, specific = [], []
        for m in MODALITIES:
            h, z = self.project[m](given[m])
            h = self.drop(h)
            for block in self.blocks[m]:
                h, z = block(h, mask)
            self.alone[m](h)
            common.append(h)
            specific.append(z)
        x, u = torch.cat(common, -1), [torch.cat(parts, -1) for parts in zip(*specific, strict=True)]
        p, u = self.proj1(x, u)
        o, each = self.head(self.drop(torch.relu(p)) + x, u)
        out: Tensor = o + each[combination]
        return out
