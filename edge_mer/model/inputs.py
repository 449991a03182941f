"""Inputs of the model: windows, combinations, whole dialogues, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Modality, combination_of, modalities_of
from edge_mer.contract.errors import InputError
from edge_mer.model.config import MCULoRAConfig


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Tokens of one modality: ``tokens`` [B, T, d], ``mask`` [B, T] (1 = valid), ``age`` [B, T] seconds, >= 0.

    For the dialogue readout a token is an utterance: T = L, the mask is presence, and ``age`` is not read.
    """

    tokens: Tensor
    mask: Tensor
    age: Tensor


def presence(combination: Tensor) -> Tensor:
    """``combination`` int64 [...] (index of COMBINATIONS, -1 = none) -> bool [..., 3] in the order of MODALITIES."""
    rows = [[m in modalities_of(c) for m in MODALITIES] for c in (*COMBINATIONS, "none")]
    return torch.tensor(rows, device=combination.device)[combination]


def combination_index(present: Tensor) -> Tensor:
    """The inverse: bool [..., 3] -> int64 [...], -1 where no modality is present."""
    table = torch.full((8,), -1)
    for bits in range(1, 8):
        chosen = {m for i, m in enumerate(MODALITIES) if bits >> i & 1}
        table[bits] = COMBINATIONS.index(combination_of(chosen))
    weights = torch.tensor([1, 2, 4], device=present.device)
    return table.to(present.device)[(present.long() * weights).sum(-1)]


def dialogue(
    values: Mapping[Modality, Tensor], utterances: Tensor, present: Tensor
) -> tuple[dict[Modality, Window], Tensor]:
    """Inputs of the dialogue readout: ``model(*dialogue(values, utterances, present))``.

    ``values`` [B, L, d_m] per modality, ``utterances`` [B, L] (1 = real, 0 = padding), ``present`` bool [B, L, 3] in
    the order of MODALITIES. The combination [B, L] is that of each utterance, -1 at padding.
    """
    here = present.bool() & (utterances > 0)[..., None]
    windows = {}
    for i, m in enumerate(MODALITIES):
        mask = here[..., i].to(values[m].dtype)
        windows[m] = Window(values[m], mask, torch.zeros_like(mask))
    return windows, combination_index(here)


def select(window: Window, modality: Modality, combination: Tensor) -> Window:
    """Hard mask: where the combination lacks ``modality``, its tokens, ages and mask become zero."""
    here = presence(combination)[..., MODALITIES.index(modality)]

    def keep(x: Tensor) -> Tensor:
        return torch.where(here.reshape(*here.shape, *[1] * (x.dim() - here.dim())), x, x.new_zeros(()))

    return Window(keep(window.tokens), keep(window.mask), keep(window.age))


def erased(
    windows: Mapping[Modality, Window], combination: Tensor, modalities: Collection[Modality]
) -> dict[Modality, Window]:
    """The batch without ``modalities`` wherever another one remains (FAGM); combinations and adapters stay."""
    left = [i for i, m in enumerate(MODALITIES) if m not in modalities]
    remains = presence(combination)[..., left].any(-1)
    out = dict(windows)
    for m in modalities:
        mask = windows[m].mask
        gone = remains.reshape(*remains.shape, *[1] * (mask.dim() - remains.dim()))
        out[m] = Window(windows[m].tokens, torch.where(gone, torch.zeros_like(mask), mask), windows[m].age)
    return out


def erasable(combination: Tensor) -> dict[Modality, float]:
    """The share of samples (or utterances) that contain each modality and at least one other."""
    present = presence(combination)
    counted = (combination >= 0).sum().clamp(min=1)
    rich = present & (present.sum(-1, keepdim=True) > 1)
    return {m: (rich[..., i].sum() / counted).item() for i, m in enumerate(MODALITIES)}


def check(windows: Mapping[Modality, Window], combination: Tensor, config: MCULoRAConfig) -> None:
    """Raise InputError for inputs that the model does not check; meant for data at load time, not for each step."""
    low, high = combination.min().item(), combination.max().item()
    least = -1 if config.readout == "dialogue" else 0
    if low < least or high >= len(COMBINATIONS):
        raise InputError(f"combination holds {low}..{high}; expected {least}..{len(COMBINATIONS) - 1}")
    leading = 2 if config.readout == "dialogue" else 1
    if combination.dim() != leading:
        raise InputError(f"combination has {combination.dim()} axes; the {config.readout} readout expects {leading}")
    for m in MODALITIES:
        if m not in windows:
            raise InputError(f"{m} is missing; an absent modality needs a window too (any content is ignored)")
        tokens, mask, age = windows[m].tokens, windows[m].mask, windows[m].age
        if tokens.dim() != 3 or tokens.shape[-1] != config.dims[m]:
            raise InputError(f"{m}.tokens is {list(tokens.shape)}; expected [B, T, {config.dims[m]}]")
        if mask.shape != tokens.shape[:2] or age.shape != tokens.shape[:2] or len(tokens) != len(combination):
            raise InputError(
                f"{m}: tokens {list(tokens.shape)}, mask {list(mask.shape)}, age {list(age.shape)} and combination "
                f"{list(combination.shape)} do not fit each other"
            )
        seen = select(windows[m], m, combination)
        broken = (seen.mask > 0) & ~(torch.isfinite(seen.tokens).all(-1) & torch.isfinite(seen.age))
        if broken.any():
            row, token = broken.nonzero()[0].tolist()
            raise InputError(f"{m}.tokens, row {row}, token {token}: NaN or Inf in a present modality")
