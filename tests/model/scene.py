"""Windows, dialogues and models with active adapters and biases, for the tests of the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from edge_mer.model import MCULoRA, MCULoRAConfig, Readout, Window, dialogue

Windows = dict[Modality, Window]
CONFIG = MCULoRAConfig(width=32, heads=2)
DIALOGUE = MCULoRAConfig(width=32, heads=2, readout="dialogue")


def windows(batch: int, seed: int = 0, config: MCULoRAConfig = CONFIG, length: int = 6) -> Windows:
    """Random tokens, three in ten masked, the newest never."""
    random = torch.Generator().manual_seed(seed)
    out: Windows = {}
    for m in MODALITIES:
        mask = (torch.rand(batch, length, generator=random) < 0.7).float()
        mask[:, -1] = 1
        tokens = torch.randn(batch, length, config.dims[m], generator=random)
        out[m] = Window(tokens, mask, torch.rand(batch, length, generator=random) * 4)
    return out


def dialogue_batch(
    batch: int, length: int, seed: int = 0, config: MCULoRAConfig = DIALOGUE
) -> tuple[dict[Modality, Tensor], Tensor, Tensor]:
    """Values, utterance mask (the last dialogue is shorter) and presence that differs by utterance."""
    random = torch.Generator().manual_seed(seed)
    values = {m: torch.randn(batch, length, config.dims[m], generator=random) for m in MODALITIES}
    utterances = torch.ones(batch, length)
    utterances[-1, length // 2 :] = 0
    present = torch.rand(batch, length, 3, generator=random) < 0.6
    present[..., 2] |= ~present.any(-1)
    return values, utterances, present


def index(combination: Combination, batch: int) -> Tensor:
    return torch.full((batch,), COMBINATIONS.index(combination))


def active_model(config: MCULoRAConfig = CONFIG, seed: int = 1) -> MCULoRA:
    """A model whose adapters and biases are all non-zero."""
    torch.manual_seed(seed)
    model = MCULoRA(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif "bias" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def same_bits(one: Readout, other: Readout) -> bool:
    return torch.equal(one.logits, other.logits) and torch.equal(one.polarity, other.polarity)


def distance(one: Readout, other: Readout) -> float:
    return max((one.logits - other.logits).abs().max().item(), (one.polarity - other.polarity).abs().max().item())


def rows(readout: Readout, which: slice) -> Readout:
    return Readout(readout.logits[which], readout.sentiment[which], readout.polarity[which], readout.trace)


def run_dialogue(model: MCULoRA, values: Mapping[Modality, Tensor], utterances: Tensor, present: Tensor) -> Readout:
    out: Readout = model(*dialogue(values, utterances, present))
    return out
