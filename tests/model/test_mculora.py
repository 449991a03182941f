"""Properties T1-T4, T12 and T14 of the window readout (ALGORITHMS.md 6); each check also detects mutants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.errors import ConfigError
from edge_mer.model import MCULoRA, MCULoRAConfig, Window
from edge_mer.model import experts as experts_module
from edge_mer.model import mcla as mcla_module
from edge_mer.model import mculora as mculora_module
from edge_mer.model.config import PoolKind
from edge_mer.model.losses import balance, orthogonality
from edge_mer.model.mcla import LowRank, MCLALinear, Selection
from tests.model.scene import CONFIG, active_model, distance, index, rows, same_bits, windows

Mutant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module", params=get_args(PoolKind))
def model(request: pytest.FixtureRequest) -> MCULoRA:
    return active_model(replace(CONFIG, pool=request.param))


FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "random": torch.randn_like,
    "+1e4": lambda x: torch.full_like(x, 1e4),
    "-1e4": lambda x: torch.full_like(x, -1e4),
    "nan": lambda x: torch.full_like(x, torch.nan),
    "inf": lambda x: torch.full_like(x, torch.inf),
}


def indifferent(model: MCULoRA, combination: Combination, fill: str) -> bool:
    """T1: whether other content of the absent modalities gives the same bytes."""
    given, other = windows(3), windows(3)
    for m in set(MODALITIES) - set(modalities_of(combination)):
        other[m] = Window(*(FILLS[fill](x) for x in (given[m].tokens, given[m].mask, given[m].age)))
    return same_bits(model(given, index(combination, 3)), model(other, index(combination, 3)))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t1_an_absent_modality_cannot_change_one_bit(model: MCULoRA, combination: Combination, fill: str) -> None:
    assert indifferent(model, combination, fill)


def _product(window: Window, modality: Modality, combination: Tensor) -> Window:
    here = torch.tensor([float(modality in modalities_of(c)) for c in COMBINATIONS])[combination]
    return Window(window.tokens * here[:, None, None], window.mask * here[:, None], window.age * here[:, None])


T1_MUTANTS: dict[str, tuple[Mutant, str]] = {
    "no select at all": (lambda p: p.setattr(mculora_module, "select", lambda w, m, c: w), "random"),
    "a product instead of a select": (lambda p: p.setattr(mculora_module, "select", _product), "nan"),
    "tokens zeroed but still attended": (
        lambda p: p.setattr(
            mculora_module, "select", lambda w, m, c: Window(_product(w, m, c).tokens, w.mask, w.age * 0)
        ),
        "random",
    ),
}


@pytest.mark.parametrize("name", T1_MUTANTS)
def test_t1_check_detects_mutants(model: MCULoRA, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    break_it, fill = T1_MUTANTS[name]
    break_it(monkeypatch)
    assert not indifferent(model, "av", fill)


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
    merged = model.merged("atv")
    assert same_bits(merged(given), merged(other))


def test_t1_masked_values_cannot_reach_a_gradient(model: MCULoRA) -> None:
    """0 x NaN is NaN in a gradient too."""
    spoilt = {
        m: Window(torch.where(w.mask[..., None] > 0, w.tokens, torch.nan), w.mask, w.age) for m, w in windows(3).items()
    }
    model.zero_grad()
    model(spoilt, index("atv", 3)).logits.sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_a_present_modality_does_change_the_result(model: MCULoRA) -> None:
    given, other = windows(1), windows(1)
    other["audio"] = Window(given["audio"].tokens + 1, given["audio"].mask, given["audio"].age)
    assert not same_bits(model(given, index("atv", 1)), model(other, index("atv", 1)))


def merge_error(model: MCULoRA, combination: Combination) -> float:
    given, merged = windows(4), model.merged(combination)
    return distance(model(given, index(combination, 4)), merged({m: given[m] for m in modalities_of(combination)}))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t2_the_merged_model_equals_the_gathered_one(model: MCULoRA, combination: Combination) -> None:
    merged = model.merged(combination)
    assert merged.modalities == modalities_of(combination)
    assert not any(isinstance(layer, MCLALinear | LowRank) for layer in merged.modules())
    assert merge_error(model, combination) <= 1e-5


T2_MUTANTS: dict[str, Mutant] = {
    "another combination's pair": lambda p: p.setattr(
        MCLALinear, "merged", lambda self, c, merged=MCLALinear.merged: merged(self, (c + 1) % 7)
    ),
    "no pair": lambda p: p.setattr(MCLALinear, "merged", lambda self, c: self.base),
}


@pytest.mark.parametrize("name", T2_MUTANTS)
def test_t2_check_detects_mutants(model: MCULoRA, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    T2_MUTANTS[name](monkeypatch)
    assert merge_error(model, "av") > 1e-5


def loss(model: MCULoRA, combination: Combination, seed: int) -> Tensor:
    out = model(windows(4, seed), index(combination, 4))
    extra = 0.1 * orthogonality(out.trace) + 0.01 * balance(out.trace)
    total: Tensor = out.logits.square().sum() + (out.sentiment - 1).square().sum() + extra
    return total


def pairs_of(model: MCULoRA, combination: Combination) -> list[torch.nn.Parameter]:
    i = COMBINATIONS.index(combination)
    layers = [layer for layer in model.modules() if isinstance(layer, MCLALinear)]
    return [pair for layer in layers for pair in layer.specific[i].parameters()]


def moved_by_av() -> dict[Combination, bool]:
    """T3: whose adapters one AdamW step on "av" moves, after earlier steps gave all of them momentum."""
    model = active_model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for c in COMBINATIONS:
        loss(model, c, 0).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    before = {c: [p.detach().clone() for p in pairs_of(model, c)] for c in COMBINATIONS}
    loss(model, "av", 1).backward()
    optimizer.step()
    return {
        c: any(not torch.equal(p, q) for p, q in zip(pairs_of(model, c), before[c], strict=True)) for c in COMBINATIONS
    }


def test_t3_training_one_combination_keeps_the_adapters_of_the_others() -> None:
    assert [c for c, moved in moved_by_av().items() if moved] == ["av"]


def test_t3_check_detects_unused_pairs_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all pairs in the graph, the others get zero gradients, and momentum moves them."""
    monkeypatch.setattr(mcla_module.torch, "unique", lambda _: torch.arange(7))
    assert all(moved_by_av().values())


def unchanged_adapters() -> list[str]:
    """T4: the adapted layers with a zero B that two steps on each combination should have moved."""
    torch.manual_seed(2)
    model = MCULoRA(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for c in [c for c in COMBINATIONS for _ in range(2)]:
        optimizer.zero_grad(set_to_none=True)
        loss(model, c, 3).backward()
        optimizer.step()
    unchanged = []
    for name, layer in model.named_modules():
        if isinstance(layer, MCLALinear):
            branch = next((m for m in MODALITIES if f".{m}." in name), None)
            used = [i for i, c in enumerate(COMBINATIONS) if branch is None or branch in modalities_of(c)]
            x = torch.randn(1, layer.base.in_features)
            outputs = [layer.eval()(x, Selection(torch.tensor([i]))) for i in used]
            apart = all(not torch.equal(outputs[i], outputs[j]) for i in range(len(used)) for j in range(i))
            if not apart or any(layer.specific[i].b.norm() == 0 for i in used):
                unchanged.append(name)
    return unchanged


def test_t4_every_adapter_changes_in_two_steps() -> None:
    assert unchanged_adapters() == []


def test_t4_check_detects_dead_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero A in front of a zero B is the serial unchanged adapter of the authors' last release."""
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda x, a=0: torch.nn.init.zeros_(x))
    assert unchanged_adapters() != []


def mixing_error(model: MCULoRA) -> float:
    """T12: a batch of all combinations against its rows, one by one."""
    given, combination = windows(7), torch.arange(7)
    together = model(given, combination)
    worst = 0.0
    for i in range(7):
        alone = {m: Window(w.tokens[i : i + 1], w.mask[i : i + 1], w.age[i : i + 1]) for m, w in given.items()}
        worst = max(worst, distance(rows(together, slice(i, i + 1)), model(alone, combination[i : i + 1])))
    return worst


def test_t12_a_mixed_batch_equals_one_by_one(model: MCULoRA) -> None:
    assert mixing_error(model) <= 1e-6


def test_t12_check_detects_one_combination_per_batch(model: MCULoRA, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sample's combination for the whole batch, as in the authors' code."""
    low_rank = MCLALinear.low_rank
    monkeypatch.setattr(
        MCLALinear, "low_rank", lambda self, x, s: low_rank(self, x, Selection(s.index[:1].expand(len(s.index))))
    )
    assert mixing_error(model) > 1e-6


def padded(given: Mapping[Modality, Window]) -> dict[Modality, Window]:
    return {
        m: Window(
            torch.cat([torch.randn(2, 5, CONFIG.dims[m]), w.tokens], 1),
            torch.cat([torch.zeros(2, 5), w.mask], 1),
            torch.cat([torch.rand(2, 5), w.age], 1),
        )
        for m, w in given.items()
    }


def test_t14_more_masked_tokens_change_nothing(model: MCULoRA) -> None:
    given = windows(2)
    assert distance(model(given, index("atv", 2)), model(padded(given), index("atv", 2))) <= 1e-6


def test_t14_single_token_equals_that_token_beside_masked_ones(model: MCULoRA) -> None:
    """Attention to a single token is not computed; beside masked ones it is."""
    given = {m: Window(w.tokens[:, -1:], w.mask[:, -1:], w.age[:, -1:]) for m, w in windows(2).items()}
    assert distance(model(given, index("atv", 2)), model(padded(given), index("atv", 2))) <= 1e-6


def test_t14_check_detects_leaking_biases(model: MCULoRA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the token mask, biases of masked tokens leak through the convolution."""
    monkeypatch.setattr(experts_module, "_zeroed", lambda x, kept: x)
    given = windows(2)
    assert distance(model(given, index("atv", 2)), model(padded(given), index("atv", 2))) > 1e-6


def test_a_window_without_one_valid_token_gives_a_finite_result(model: MCULoRA) -> None:
    empty = {m: Window(w.tokens, torch.zeros_like(w.mask), w.age) for m, w in windows(2).items()}
    out = model(empty, index("atv", 2))
    assert torch.isfinite(out.logits).all()
    assert torch.isfinite(out.sentiment).all()


def test_sentiment_stays_in_its_range(model: MCULoRA) -> None:
    big = {m: Window(w.tokens * 1e3, w.mask, w.age) for m, w in windows(5).items()}
    assert model(big, index("atv", 5)).sentiment.abs().max() <= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 33},
        {"rank": 0},
        {"dims": {"audio": 3}},
        {"top": 5},
        {"tasks": ()},
        {"tasks": ("mood",)},
        {"readout": "page"},
        {"expert_ranks": (4, 0)},
    ],
)
def test_an_impossible_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        MCULoRAConfig(**wrong)  # type: ignore[arg-type]


def test_a_forward_pass_asks_once_which_pairs_a_batch_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU every question waits for all that was begun."""
    model, asked = active_model(), list[Tensor]()
    unique = torch.unique
    monkeypatch.setattr(torch, "unique", lambda x: (asked.append(x), unique(x))[1])
    model(windows(3), torch.tensor([0, 4, 6]))
    assert len(asked) == 1
