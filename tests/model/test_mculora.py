"""Properties T1-T4, T12 and T14 of the model (design/algorithms.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from edge_mer.domain import COMBINATIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.errors import ConfigError
from edge_mer.model import MCULoRA, MCULoRAConfig, Readout
from edge_mer.model.mcla import MCLALinear
from edge_mer.model.mculora import Window

CONFIG = MCULoRAConfig(width=32, heads=2)
Windows = dict[Modality, Window]


def windows(batch: int, seed: int = 0, lengths: dict[str, int] | None = None) -> Windows:
    random = torch.Generator().manual_seed(seed)
    out: Windows = {}
    for m in MODALITIES:
        n = (lengths or {}).get(m, 6)
        mask = (torch.rand(batch, n, generator=random) < 0.7).float()
        mask[:, -1] = 1
        tokens = torch.randn(batch, n, CONFIG.dims[m], generator=random)
        out[m] = Window(tokens, mask, torch.rand(batch, n, generator=random) * 4)
    return out


def index(combination: Combination, batch: int) -> Tensor:
    return torch.full((batch,), COMBINATIONS.index(combination))


def adapted() -> MCULoRA:
    """A model whose adapters all do something."""
    torch.manual_seed(1)
    model = MCULoRA(CONFIG).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def model() -> MCULoRA:
    return adapted()


def same_bits(one: Readout, other: Readout) -> bool:
    return torch.equal(one.logits, other.logits) and torch.equal(one.sentiment, other.sentiment)


def distance(one: Readout, other: Readout) -> float:
    return max((one.logits - other.logits).abs().max().item(), (one.sentiment - other.sentiment).abs().max().item())


FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "random": torch.randn_like,
    "+1e4": lambda x: torch.full_like(x, 1e4),
    "-1e4": lambda x: torch.full_like(x, -1e4),
    "nan": lambda x: torch.full_like(x, torch.nan),
    "inf": lambda x: torch.full_like(x, torch.inf),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t1_an_absent_modality_cannot_change_one_bit(model: MCULoRA, combination: Combination, fill: str) -> None:
    given, other = windows(3), windows(3)
    for m in set(MODALITIES) - set(modalities_of(combination)):
        other[m] = Window(*(FILLS[fill](x) for x in (given[m].tokens, given[m].mask, given[m].age)))
    assert same_bits(model(given, index(combination, 3)), model(other, index(combination, 3)))


@pytest.mark.parametrize("fill", FILLS)
def test_t1_a_masked_token_cannot_change_one_bit(model: MCULoRA, fill: str) -> None:
    given = windows(3)
    other = {
        m: Window(
            torch.where(w.mask[..., None] > 0, w.tokens, FILLS[fill](w.tokens)),
            w.mask,
            torch.where(w.mask > 0, w.age, FILLS[fill](w.age)),
        )
        for m, w in given.items()
    }
    assert same_bits(model(given, index("atv", 3)), model(other, index("atv", 3)))


def test_a_present_modality_does_change_the_result(model: MCULoRA) -> None:
    given, other = windows(1), windows(1)
    other["audio"] = Window(given["audio"].tokens + 1, given["audio"].mask, given["audio"].age)
    assert not same_bits(model(given, index("atv", 1)), model(other, index("atv", 1)))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t2_the_merged_model_equals_the_gathered_one(model: MCULoRA, combination: Combination) -> None:
    given, merged = windows(4), model.merged(combination)
    only = {m: given[m] for m in modalities_of(combination)}
    assert merged.modalities == modalities_of(combination)
    assert not any(isinstance(layer, MCLALinear) for layer in merged.modules())
    assert distance(model(given, index(combination, 4)), merged(only)) <= 1e-5


def loss(model: MCULoRA, combination: Combination, seed: int) -> Tensor:
    out = model(windows(4, seed), index(combination, 4))
    return out.logits.square().sum() + (out.sentiment - 1).square().sum()


def pairs_of(model: MCULoRA, combination: Combination) -> list[torch.nn.Parameter]:
    i = COMBINATIONS.index(combination)
    layers = [layer for layer in model.modules() if isinstance(layer, MCLALinear)]
    return [pair for layer in layers for pair in layer.specific[i].parameters()]


def test_t3_training_one_combination_leaves_the_adapters_of_the_others_alone() -> None:
    model = adapted()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    # Momentum from earlier steps must not move idle adapters either.
    for c in COMBINATIONS:
        loss(model, c, 0).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    before = {c: [p.detach().clone() for p in pairs_of(model, c)] for c in COMBINATIONS}
    loss(model, "av", 1).backward()
    idle = [c for c in COMBINATIONS if c != "av"]
    assert all(p.grad is None for c in idle for p in pairs_of(model, c))
    optimizer.step()
    assert all(torch.equal(p, q) for c in idle for p, q in zip(pairs_of(model, c), before[c], strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(pairs_of(model, "av"), before["av"], strict=True))


def test_t4_every_adapter_comes_alive_in_two_steps() -> None:
    torch.manual_seed(2)
    model = MCULoRA(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for c in [c for c in COMBINATIONS for _ in range(2)]:
        optimizer.zero_grad(set_to_none=True)
        loss(model, c, 3).backward()
        optimizer.step()
    for name, layer in model.named_modules():
        if isinstance(layer, MCLALinear):
            branch = next((m for m in MODALITIES if f".{m}." in name), None)
            used = [i for i, c in enumerate(COMBINATIONS) if branch is None or branch in modalities_of(c)]
            assert all(layer.specific[i].b.norm() > 0 for i in used), name
    for i in range(7):
        for j in range(i):
            layer = model.heads["emotion"].fc1
            x = torch.randn(1, CONFIG.width)
            assert not torch.equal(layer(x, torch.tensor([i])), layer(x, torch.tensor([j])))


def test_t12_a_mixed_batch_equals_one_by_one(model: MCULoRA) -> None:
    given, combination = windows(7), torch.arange(7)
    together = model(given, combination)
    for i in range(7):
        alone = {m: Window(w.tokens[i : i + 1], w.mask[i : i + 1], w.age[i : i + 1]) for m, w in given.items()}
        one = model(alone, combination[i : i + 1])
        row = Readout(together.logits[i : i + 1], together.sentiment[i : i + 1], together.trace)
        assert distance(row, one) <= 1e-6


def test_t14_more_masked_tokens_change_nothing(model: MCULoRA) -> None:
    given = windows(2)
    padded = {
        m: Window(
            torch.cat([torch.randn(2, 5, CONFIG.dims[m]), w.tokens], 1),
            torch.cat([torch.zeros(2, 5), w.mask], 1),
            torch.cat([torch.rand(2, 5), w.age], 1),
        )
        for m, w in given.items()
    }
    assert distance(model(given, index("atv", 2)), model(padded, index("atv", 2))) <= 1e-6


def test_a_window_without_one_valid_token_gives_a_finite_result(model: MCULoRA) -> None:
    empty = {m: Window(w.tokens, torch.zeros_like(w.mask), w.age) for m, w in windows(2).items()}
    out = model(empty, index("atv", 2))
    assert torch.isfinite(out.logits).all()
    assert torch.isfinite(out.sentiment).all()


def test_sentiment_stays_in_its_range(model: MCULoRA) -> None:
    big = {m: Window(w.tokens * 1e3, w.mask, w.age) for m, w in windows(5).items()}
    assert model(big, index("atv", 5)).sentiment.abs().max() <= 3


@pytest.mark.parametrize("wrong", [{"width": 33}, {"rank": 0}, {"dims": {"audio": 3}}])
def test_an_impossible_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        MCULoRAConfig(**wrong)  # type: ignore[arg-type]
