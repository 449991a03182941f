"""FAGM: identity when balanced (T7), direction (T8), partition (T9), and that each can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Modality
from edge_mer.contract.errors import ConfigError
from edge_mer.model.inputs import erasable, erased
from edge_mer.model.losses import emotion_loss, sentiment_loss
from pipelines.fusion import fagm as fagm_module
from pipelines.fusion.fagm import Fagm, FagmSettings, dominance, endemic, penalty
from tests.model.scene import active_model, windows

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2),
}
ALL = dict.fromkeys(MODALITIES, 1.0)
SETTINGS = FagmSettings(every=1)


class LateFusion(nn.Module):
    """A branch per modality, a layer over all three, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)) for m in MODALITIES}
        )
        self.mix, self.classifier = nn.Linear(12, 5), nn.Linear(5, 2)

    def forward(self, given: Mapping[Modality, Tensor], gone: frozenset[Modality]) -> Tensor:
        seen = [self.branches[m](x * (m not in gone)) for m, x in given.items()]
        out: Tensor = self.classifier(torch.tanh(self.mix(torch.cat(seen, -1))))
        return out


GIVEN = {m: torch.randn(8, 3, generator=torch.Generator().manual_seed(i)) for i, m in enumerate(MODALITIES)}


def real_loss(model: LateFusion) -> Callable[[frozenset[Modality]], Tensor]:
    return lambda gone: model(GIVEN, gone).square().mean()


def scored(model: LateFusion, rise: Mapping[Modality, float]) -> Callable[[frozenset[Modality]], Tensor]:
    """Runs the model (hooks must see it), but says that erasing m costs ``rise[m]`` over a loss of 1."""

    def loss(gone: frozenset[Modality]) -> Tensor:
        model(GIVEN, gone)
        return torch.tensor(1.0 + sum(rise[m] for m in gone))

    return loss


def stepped(
    optimizer: str, rise: Mapping[Modality, float] | None, options: FagmSettings = SETTINGS, steps: int = 1
) -> dict[str, Tensor]:
    """How far each parameter moves, without FAGM where ``rise`` is None."""
    torch.manual_seed(0)
    model = LateFusion()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optim = OPTIMIZERS[optimizer](model.parameters())
    fagm = Fagm(model, options, skip=("classifier",))
    for _ in range(steps):
        optim.zero_grad(set_to_none=True)
        model(GIVEN, frozenset()).square().mean().backward()
        if rise is None:
            optim.step()
        else:
            fagm.step(optim, scored(model, rise), ALL)
    return {n: p.detach() - before[n] for n, p in model.named_parameters()}


def identical(optimizer: str) -> bool:
    """T7: equal rises give the same bytes as no FAGM."""
    plain, even = stepped(optimizer, None, steps=3), stepped(optimizer, dict.fromkeys(MODALITIES, 0.7), steps=3)
    return all(torch.equal(plain[n], even[n]) for n in plain)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_t7_equal_erasure_losses_change_nothing(optimizer: str) -> None:
    assert identical(optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_t7_full_dominance_freezes_every_modality(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """gamma = 0 makes 0^0 = 1: everything freezes, which is why it is refused."""
    monkeypatch.setattr(fagm_module, "dominance", lambda base, scores, settings: dict.fromkeys(scores, 1.0))
    assert not identical(optimizer)


@pytest.mark.parametrize("gamma", [0.0, -0.5])
def test_t7_gamma_must_be_above_0(gamma: float) -> None:
    with pytest.raises(ConfigError, match="gamma"):
        FagmSettings(gamma=gamma)


RISE: dict[Modality, float] = {"audio": 0.1, "video": 0.0, "text": 2.0}


def shrinks(optimizer: str, options: FagmSettings = SETTINGS) -> dict[Modality, float]:
    """T8: the movement of each branch with FAGM over that without, when text is dominant and video weakest."""
    plain, slowed = stepped(optimizer, None), stepped(optimizer, RISE, options)

    def moved(by: Mapping[str, Tensor], m: Modality) -> float:
        return float(torch.cat([x.flatten() for n, x in by.items() if f".{m}." in n]).norm())

    return {m: moved(slowed, m) / moved(plain, m) for m in MODALITIES}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_t8_the_dominant_modality_slows_down_and_the_weakest_does_not(optimizer: str) -> None:
    ratio = shrinks(optimizer)
    assert ratio["text"] < ratio["audio"] < ratio["video"] == 1
    assert ratio["text"] >= SETTINGS.floor - 1e-6


def test_t8_adamw_cancels_the_authors_gradient_scaling_and_sgd_does_not() -> None:
    authors = replace(SETTINGS, on="gradient")
    assert shrinks("adamw", authors)["text"] == pytest.approx(1, abs=1e-3)
    assert shrinks("sgd", authors)["text"] == pytest.approx(shrinks("sgd")["text"], rel=1e-4)


def test_t8_general_layers_slow_down_by_column() -> None:
    plain, slowed = stepped("adamw", None)["mix.weight"], stepped("adamw", RISE)["mix.weight"]
    ratio = (slowed.norm(dim=0) / plain.norm(dim=0)).split(4)
    by_modality = dict(zip(MODALITIES, ratio, strict=True))
    assert (by_modality["video"] == 1).all()
    assert by_modality["text"].min() < 0.9
    assert stepped("adamw", None)["mix.bias"].equal(stepped("adamw", RISE)["mix.bias"])


def partition_of(skip: tuple[str, ...] = ("classifier",)) -> fagm_module.Partition:
    torch.manual_seed(0)
    model = LateFusion()
    fagm = Fagm(model, SETTINGS, skip=skip)
    optim = torch.optim.SGD(model.parameters(), 0.1)
    fagm.step(optim, real_loss(model), ALL)
    assert fagm.partition is not None
    return fagm.partition


def test_t9_late_fusion_is_divided_by_branches() -> None:
    partition = partition_of()
    assert partition.specific == {m: (f"branches.{m}.0", f"branches.{m}.2") for m in MODALITIES}
    assert partition.general == ("mix",)


def test_t9_a_sum_of_differences_would_miss_what_cancels() -> None:
    """The authors' test; max |difference| is ours."""
    one, other = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
    assert (one - other).sum() == 0
    assert fagm_module._change(one, other) == 2


def test_t9_the_branches_of_the_model_are_specific_and_its_pools_general() -> None:
    model = active_model()
    combination = torch.tensor([COMBINATIONS.index(c) for c in ("atv", "at", "av", "tv", "a")])
    given = windows(5)

    def loss(gone: frozenset[Modality]) -> Tensor:
        out = model(erased(given, combination, gone), combination)
        return emotion_loss(out.logits, torch.arange(5)) + sentiment_loss(out.polarity, torch.zeros(5))

    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    loss(frozenset()).backward()
    fagm = Fagm(model)
    fagm.step(optimizer, loss, erasable(combination))
    assert fagm.partition is not None
    for m in MODALITIES:
        called = {n for n, x in model.named_modules() if n.startswith(f"branches.{m}.") and list(x.parameters(False))}
        # Pairs of one combination are never called by themselves: no hook sees them, so FAGM leaves them alone.
        assert set(fagm.partition.specific[m]) == {n for n in called if ".specific." not in n}
    assert {n.split(".")[0] for n in fagm.partition.general} == {"pools", "heads"}
    assert not any("fc2" in n for n in fagm.partition.general)
    assert not any(".specific." in n for n in fagm.multipliers)


SHIFTS = st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=3, max_size=3)


def disjoint(sets: Mapping[Modality, Tensor]) -> bool:
    return bool((torch.stack(list(sets.values())).sum(0) <= 1).all())


@given(SHIFTS, st.floats(0.05, 1.0), st.lists(st.floats(0, 3), min_size=3, max_size=3))
def test_t9_endemic_sets_are_disjoint_and_penalties_lie_in_the_unit_interval(
    shifts: list[list[float]], beta: float, scores: list[float]
) -> None:
    by = {m: torch.tensor(s) for m, s in zip(MODALITIES, shifts, strict=True)}
    options = FagmSettings(beta=beta)
    assert disjoint(endemic(by, beta))
    pen = penalty(by, dominance(1.0, dict(zip(MODALITIES, scores, strict=True)), options), options)
    assert (pen > 0).all()
    assert (pen <= 1).all()


def test_t9_beta_is_the_share_of_the_endemic_neurons() -> None:
    shifts: dict[Modality, Tensor] = {"audio": torch.arange(1.0, 11), "text": torch.zeros(10)}
    assert endemic(shifts, 0.5)["audio"].nonzero().flatten().tolist() == [5, 6, 7, 8, 9]
    assert endemic(shifts, 0.01)["audio"].sum() == 1
    assert endemic(shifts, 1.0)["audio"].all()
    assert not endemic(shifts, 1.0)["text"].any()


def test_t9_can_fail_when_ties_belong_to_both() -> None:
    """Neurons by sensitivity alone, not by the lead over the others, would be in two sets."""
    shifts = {m: torch.ones(4) for m in MODALITIES}
    assert not any(s.any() for s in endemic(shifts, 1.0).values())
    assert not disjoint({m: s >= s.max() for m, s in shifts.items()})


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0.01, 10))
def test_the_weakest_has_no_dominance_and_none_reaches_1(scores: list[float], base: float) -> None:
    found = dominance(base, dict(zip(MODALITIES, scores, strict=True)), FagmSettings())
    assert min(found.values()) == 0
    assert max(found.values()) < 1 or max(scores) - min(scores) > 10 * base


def test_noise_in_the_scores_is_a_dead_zone() -> None:
    assert set(dominance(1.0, {"audio": 1.0, "text": 1.0001}, FagmSettings()).values()) == {0.0}
    authors = FagmSettings(gamma=0.001, relative=False, dead_zone=0.0)
    assert max(dominance(1.0, {"audio": 1.0, "text": 1.0001}, authors).values()) > 0.9


@pytest.mark.parametrize("present", [{}, {"text": 1.0}, {"text": 1.0, "audio": 0.0}])
def test_fewer_than_two_modalities_make_a_plain_step(present: dict[Modality, float]) -> None:
    torch.manual_seed(0)
    model = LateFusion()
    optim = torch.optim.SGD(model.parameters(), 0.1)
    fagm = Fagm(model, SETTINGS)

    def never(gone: frozenset[Modality]) -> Tensor:
        raise AssertionError(f"measured without {gone}")

    fagm.step(optim, never, present)
    assert fagm.multipliers == {}


def test_it_measures_every_tau_steps_in_evaluation_mode_and_gives_the_modes_back() -> None:
    torch.manual_seed(0)
    model = LateFusion().train()
    model.mix.eval()
    calls: list[bool] = []

    def loss(gone: frozenset[Modality]) -> Tensor:
        calls.append(model.training or torch.is_grad_enabled())
        return real_loss(model)(gone)

    optim = torch.optim.SGD(model.parameters(), 0.1)
    fagm = Fagm(model, FagmSettings(every=4), skip=("classifier",))
    counts = []
    for _ in range(9):
        optim.zero_grad(set_to_none=True)
        real_loss(model)(frozenset()).backward()
        before = len(calls)
        fagm.step(optim, loss, ALL)
        counts.append(len(calls) - before)
    assert [n > 0 for n in counts] == [True, False, False, False] * 2 + [True]
    assert counts[4] == counts[8] == 4
    assert not any(calls)
    assert model.training
    assert not model.mix.training


def test_processes_decide_together_what_a_batch_holds() -> None:
    """A rank whose own batch holds nothing to erase still measures when another one's does."""
    torch.manual_seed(0)
    model = LateFusion()
    optim = torch.optim.SGD(model.parameters(), 0.1)
    real_loss(model)(frozenset()).backward()
    fagm = Fagm(model, SETTINGS, skip=("classifier",), reduce=lambda x: x + 0.5 if x.shape == (3,) else x)
    fagm.step(optim, scored(model, RISE), {})
    assert "branches.text.0.weight" in fagm.multipliers


def test_frozen_parameters_stay() -> None:
    torch.manual_seed(0)
    model = LateFusion()
    model.branches["text"].requires_grad_(False)
    before = [p.clone() for p in model.branches["text"].parameters()]
    optim = torch.optim.SGD(model.parameters(), 0.1)
    real_loss(model)(frozenset()).backward()
    Fagm(model, SETTINGS, skip=("classifier",)).step(optim, scored(model, RISE), ALL)
    assert all(torch.equal(p, q) for p, q in zip(model.branches["text"].parameters(), before, strict=True))
