"""Do the adapters matter? How large they are, and the model without them or with those of another combination."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Final, Literal

import numpy as np
import torch

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, modalities_of
from edge_mer.model import MCULoRA
from edge_mer.model.mcla import LowRank, MCLALinear

Change = Literal["zeroed", "rotated"]


def share(model: MCULoRA) -> float:
    """Mean over layers and their combinations of |B A + B_sh A_sh| / |W|, Frobenius norms; 0 without adapters."""
    with torch.no_grad():
        found = [
            float((layer.merged(c).weight - layer.base.weight).norm() / layer.base.weight.norm())
            for name, layer in _adapted(model)
            for c in _users(name)
        ]
    return float(np.mean(found)) if found else 0.0


def changed(model: MCULoRA, change: Change) -> MCULoRA:
    """A copy: every pair zero, or each combination with the specific pair of the next one that uses the layer."""
    out = deepcopy(model)
    with torch.no_grad():
        for name, layer in _adapted(out):
            CHANGES[change](layer, _users(name))
    return out


def _zero(layer: MCLALinear, users: list[int]) -> None:
    for pair in [layer.shared, *layer.specific]:
        if isinstance(pair, LowRank):
            pair.b.zero_()


def _rotate(layer: MCLALinear, users: list[int]) -> None:
    pairs = [deepcopy(layer.specific[c].state_dict()) for c in users]
    for c, other in zip(users, pairs[1:] + pairs[:1], strict=True):
        layer.specific[c].load_state_dict(other)


CHANGES: Final = {"zeroed": _zero, "rotated": _rotate}


def _adapted(model: MCULoRA) -> Iterator[tuple[str, MCLALinear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, MCLALinear))


def _users(name: str) -> list[int]:
    """The combinations that read a layer: a branch serves those that have its modality, a head all."""
    branch = next((m for m in MODALITIES if f"branches.{m}." in name), None)
    return [i for i, c in enumerate(COMBINATIONS) if branch is None or branch in modalities_of(c)]
