"""Two sizes from one configuration, both readouts, and every switch of the ablations."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch

from edge_mer.contract.domain import COMBINATIONS, modalities_of
from edge_mer.contract.errors import ConfigError
from edge_mer.model import MCULoRA, MCULoRAConfig, sized
from edge_mer.model.losses import balance, emotion_loss, orthogonality, sentiment_loss
from edge_mer.model.mcla import MCLALinear
from tests.model.scene import CONFIG, active_model, dialogue_batch, distance, index, run_dialogue, windows

PAPER = sized("paper")


def count(model: MCULoRA) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_small_model_is_the_default_and_small() -> None:
    assert sized("small") == MCULoRAConfig()
    assert MCULoRAConfig().width <= 96
    assert MCULoRAConfig().blocks == 2
    assert count(MCULoRA()) < 600_000


def test_the_paper_size_has_the_parameters_of_the_specification() -> None:
    """ALGORITHMS.md 5.1: about 7.5 M, adapters 0.78 + 0.11 M, UniTSE 1.15 M; ours adapts the heads too."""
    model = MCULoRA(PAPER)
    assert count(model) == pytest.approx(7.5e6, rel=0.05)
    in_branches = {id(p) for p in model.branches.parameters()}
    assert sum(p.numel() for p in model.adapter_parameters() if id(p) in in_branches) == pytest.approx(0.89e6, rel=0.02)
    assert sum(p.numel() for b in model.branches.values() for p in b.experts.parameters()) == pytest.approx(
        1.15e6, rel=0.02
    )


def test_paper_shapes_and_merge_parity_window() -> None:
    model = active_model(PAPER)
    given = windows(2, config=PAPER, length=4)
    with torch.no_grad():
        for c in COMBINATIONS:
            gathered = model(given, index(c, 2))
            assert gathered.logits.shape == (2, 7)
            assert gathered.sentiment.shape == (2, 1)
            assert distance(gathered, model.merged(c)({m: given[m] for m in modalities_of(c)})) <= 1e-5


def test_paper_shapes_dialogue() -> None:
    config = sized("paper", readout="dialogue", emotions=6)
    with torch.no_grad():
        out = run_dialogue(active_model(config), *dialogue_batch(2, 3, config=config))
    assert out.logits.shape == (2, 3, 6)
    assert out.sentiment.shape == (2, 3, 1)


def fitted(config: MCULoRAConfig, steps: int, rate: float) -> tuple[float, float]:
    """The first and the last loss of training on one mixed batch of six windows."""
    torch.manual_seed(0)
    model = MCULoRA(config).train()
    given, combination = windows(6, config=config, length=3), torch.arange(6)
    label, score = torch.arange(6) % config.emotions, torch.linspace(-2, 2, 6)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    losses = []
    for _ in range(steps):
        out = model(given, combination)
        loss = emotion_loss(out.logits, label, smoothing=0) + sentiment_loss(out.polarity, score)
        optimizer.zero_grad(set_to_none=True)
        (loss + 0.1 * orthogonality(out.trace) + 0.01 * balance(out.trace)).backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize(("config", "steps", "rate"), [(PAPER, 30, 1e-3), (CONFIG, 100, 3e-3)], ids=["paper", "small"])
def test_one_batch_can_be_overfitted(config: MCULoRAConfig, steps: int, rate: float) -> None:
    still = dataclasses.replace(config, dropout=0.0, adapter_dropout=0.0)
    first, last = fitted(still, steps, rate)
    assert last < 0.1 * first


SWITCHES: dict[str, dict[str, Any]] = {
    "hard sharing": {"experts": False},
    "no shared pair": {"shared_pair": False},
    "no adapters": {"adapters": False},
    "emotion only": {"tasks": ("emotion",)},
    "sentiment only": {"tasks": ("sentiment",)},
    "no expert blocks": {"expert_blocks": 0},
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("readout", ["window", "dialogue"])
def test_every_switch_trains_and_merges(name: str, readout: str) -> None:
    config = dataclasses.replace(CONFIG, readout=readout, **SWITCHES[name])
    model = active_model(config)
    combination = index("av", 2)
    if readout == "dialogue":
        combination = combination[:, None].expand(2, 6)
    given = windows(2, config=config)
    out = model(given, combination)
    (out.logits.square().sum() + out.sentiment.sum() + orthogonality(out.trace) + balance(out.trace)).backward()
    merged = model.merged("av")({m: given[m] for m in ("audio", "video")})
    assert distance(out, merged) <= 1e-5
    for task, result in (("emotion", out.logits), ("sentiment", out.sentiment)):
        assert bool(result.any()) == (task in config.tasks)


def test_switches_remove_their_parts() -> None:
    assert not list(active_model(dataclasses.replace(CONFIG, adapters=False)).adapter_parameters())
    lone = active_model(dataclasses.replace(CONFIG, shared_pair=False))
    assert all(layer.shared is None for layer in lone.modules() if isinstance(layer, MCLALinear))
    assert count(active_model(dataclasses.replace(CONFIG, tasks=("emotion",)))) < count(active_model())


def test_base_and_adapters_do_not_overlap() -> None:
    model = active_model()
    assert not {id(p) for p in model.base_parameters()} & {id(p) for p in model.adapter_parameters()}


def test_configuration_round_trips_through_json() -> None:
    config = sized("paper", readout="dialogue", tasks=("sentiment",))
    assert MCULoRAConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="small, paper"):
        sized("huge")  # type: ignore[arg-type]
