"""Every component of the training moves what it is there to move: one short training with it and one without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.model import MCULoRA
from edge_mer.model.losses import balance, orthogonality
from edge_mer.model.mcla import LowRank, MCLALinear
from pipelines.data import feature_sets as sets
from pipelines.data.feature_sets import Rows
from pipelines.data.splits import splits
from pipelines.fusion import experiment, trainer
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.fagm import Fagm
from pipelines.fusion.objective import task_loss
from pipelines.fusion.samples import SampleSet
from pipelines.fusion.saved import Saved
from pipelines.fusion.sources import Epoch, RowSource
from pipelines.fusion.trainer import RESUME, train
from tests.pipelines.feature_files import write

TINY: dict[str, Any] = {
    "width": 8,
    "heads": 2,
    "blocks": 1,
    "expert_blocks": 1,
    "dropout": 0.0,
    "adapter_dropout": 0.0,
    "gate_noise": 0.0,
}
# Norm of B A over that of W after two epochs of adapters; they begin at 0.
FLOOR = 0.01
Weights = Mapping[str, Tensor]
Train = Callable[..., Saved]


@pytest.fixture(scope="module")
def mosi(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sets.read("mosi", write(tmp_path_factory.mktemp("mosi"), "mosi"))


@pytest.fixture
def trained(mosi: Rows, tmp_path: Path) -> Train:
    """``trained(**changes)``: a new training of ``plan(**changes)`` on the same rows, in a folder of its own."""
    torch.set_num_threads(1)
    count = iter(range(100))

    def run(rows: Rows = mosi, **changes: Any) -> Saved:
        out = tmp_path / str(next(count))
        return train(plan(**changes), rows, splits(rows, 0)[0], out, fabric=Fabric(accelerator="cpu", devices=1))

    return run


def plan(**changes: Any) -> Experiment:
    """Every component that is not asked for is off, so that one alone decides what differs."""
    off = {"ortho": 0.0, "balance": 0.0, "distill": 0.0, "token_dropout": 0.0, "noise": 0.0, "fagm": 0, "dpft": False}
    values = {"data": "mosi", "batch": 2, "epochs": (1, 0, 0), "rates": (1e-2, 2e-2), "dpft_from": 1, "keep": "last"}
    return experiment.of({**values, **off, "model": TINY, **changes})


def differs(one: Saved, other: Saved, place: str) -> bool:
    """Some weight whose name contains ``place`` has other bits."""
    names = [n for n in one.weights if place in n]
    assert names, f"no weight has {place!r} in its name"
    return any(not torch.equal(one.weights[n], other.weights[n]) for n in names)


def names(parameters: Iterator[Any], model: MCULoRA) -> set[str]:
    chosen = {id(p) for p in parameters}
    return {n for n, p in model.named_parameters() if id(p) in chosen}


def test_stage_0_moves_every_part_but_the_adapters(trained: Train, mosi: Rows) -> None:
    torch.manual_seed(plan().seed)
    start = MCULoRA(plan().model_config(mosi))
    after = trained(fagm=0).weights
    adapters = names(start.adapter_parameters(), start)
    before = dict(start.named_parameters())
    moved = {n for n, p in before.items() if not torch.equal(after[n], p)}
    assert moved.isdisjoint(adapters)
    assert names(start.base_parameters(), start) <= moved | {n for n in before if "qkv" in n and "bias" in n}


def test_stage_1_keeps_the_base_to_the_bit_and_moves_the_pair_of_every_combination(trained: Train) -> None:
    base, whole = trained(), trained(epochs=(1, 2, 0))
    model = whole.model()
    for name in names(model.base_parameters(), model):
        assert torch.equal(base.weights[name], whole.weights[name]), name
    for name, layer in model.named_modules():
        if not isinstance(layer, MCLALinear):
            continue
        size = layer.base.weight.norm()
        pairs = {"shared": layer.shared, **dict(zip(COMBINATIONS, layer.specific, strict=True))}
        # A combination never uses the layers of a modality that it lacks.
        lacking = {c for m in ("audio", "video", "text") if f".{m}." in name for c in COMBINATIONS if m[0] not in c}
        for combination, pair in pairs.items():
            assert isinstance(pair, LowRank)
            share = ((pair.b @ pair.a).norm() / size).item()
            assert share == 0 if combination in lacking else share > FLOOR, (name, combination, share)


def test_stage_1_begins_with_the_best_weights_of_stage_0(
    mosi: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter([0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(trainer, "quality", lambda *_: next(falling))
    seen: list[Weights] = []

    def look(_: int) -> None:
        seen.append(torch.load(tmp_path / RESUME, weights_only=True)["model"])

    split, fabric = splits(mosi, 0)[0], Fabric(accelerator="cpu", devices=1)
    out = train(plan(epochs=(3, 1, 0), keep="best"), mosi, split, tmp_path, fabric=fabric, after_epoch=look)
    model = out.model()
    base = names(model.base_parameters(), model)
    first, third = seen[0], seen[2]
    assert any(not torch.equal(first[n], third[n]) for n in base)
    assert all(torch.equal(first[n], out.weights[n]) for n in base)


def test_stage_2_trains_adapters_as_stage_1_does(trained: Train) -> None:
    base, whole = trained(), trained(epochs=(1, 0, 1), distill=0.2)
    assert differs(base, whole, "specific")
    assert not differs(base, whole, ".base.")


def test_adapters_have_their_own_rate(trained: Train) -> None:
    one, other = trained(epochs=(1, 1, 0)), trained(epochs=(1, 1, 0), rates=(1e-2, 1e-3))
    assert not differs(one, other, ".base.")
    assert differs(one, other, "specific")


def test_adapters_do_not_decay(trained: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no gradient but the decay, the base shrinks and the adapters stay."""
    monkeypatch.setattr(trainer, "objective", lambda out, batch, e: out.logits.sum() * 0 + out.polarity.sum() * 0)
    start, end = trained(weight_decay=0.0, epochs=(1, 1, 0)), trained(weight_decay=0.9, epochs=(1, 1, 0))
    assert differs(start, end, ".base.weight")
    assert not differs(start, end, "specific")


def test_dpft_leaves_even_shares_and_changes_what_is_drawn(trained: Train, tmp_path: Path) -> None:
    off, on = trained(epochs=(1, 3, 0)), trained(epochs=(1, 3, 0), dpft=True)
    even, moved = (torch.load(tmp_path / str(i) / RESUME, weights_only=True)["dpft"]["ratios"] for i in range(2))
    assert np.allclose(even, 1 / 7)
    assert np.abs(np.array(moved) - 1 / 7).max() > 0.01
    assert not differs(off, on, ".base.")
    assert differs(off, on, "specific")


def test_dpft_looks_at_every_combination_of_the_validation_rows(
    mosi: Rows, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, float]] = []
    monkeypatch.setattr(trainer.Dpft, "update", lambda self, sigma: seen.append(dict(sigma)))
    trained(epochs=(1, 2, 0), dpft=True)
    assert [set(sigma) for sigma in seen] == [set(COMBINATIONS)] * 2
    assert all(value > 0 for sigma in seen for value in sigma.values()), "adapters that never moved separate nothing"


def test_fagm_slows_the_dominant_modality_in_both_stages(trained: Train) -> None:
    off, on = trained(), trained(fagm=1)
    for m in ("audio", "video", "text"):
        assert differs(off, on, f"branches.{m}.experts"), m
    off, on = trained(epochs=(1, 1, 0)), trained(epochs=(1, 1, 0), fagm=1, rates=(1e-2, 2e-2))
    assert differs(off, on, "shared.b")


def test_fagm_measures_the_modalities_that_the_set_has(
    mosi: Rows, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[str]] = []
    run = Fagm._run

    def spy(self: Fagm, loss: Any, erased: frozenset[Any], hooked: Any) -> Any:
        asked.append(erased)
        return run(self, loss, erased, hooked)

    monkeypatch.setattr(Fagm, "_run", spy)
    trained(fagm=4)
    assert {frozenset({m}) for m in mosi.tokens} <= set(asked)


def _trace(saved: Saved, rows: Rows) -> Any:
    data = SampleSet(rows, splits(rows, 0)[0]["train"], saved.scales).all()
    c = data.shape(torch.arange(len(data)) % len(COMBINATIONS))
    with torch.no_grad():
        return saved.model()(data.given(c), c).trace


def test_l_ort_turns_shared_and_specific_pairs_apart(trained: Train, mosi: Rows) -> None:
    off, on = (trained(epochs=(1, 4, 0), ortho=weight) for weight in (0.0, 30.0))
    assert orthogonality(_trace(on, mosi)) < 0.7 * orthogonality(_trace(off, mosi))


def test_l_bal_evens_the_load_of_the_experts(trained: Train, mosi: Rows) -> None:
    off, on = (trained(epochs=(6, 0, 0), balance=weight) for weight in (0.0, 30.0))
    assert differs(off, on, "router")
    assert balance(_trace(on, mosi)) < balance(_trace(off, mosi))


def test_distillation_changes_the_adapters_of_stage_2_only(trained: Train) -> None:
    off, on = trained(epochs=(1, 1, 1)), trained(epochs=(1, 1, 1), distill=1.0)
    assert differs(off, on, "specific")
    off, on = trained(epochs=(1, 1, 0)), trained(epochs=(1, 1, 0), distill=1.0)
    assert not differs(off, on, "")


def test_the_teacher_is_the_average_in_evaluation_mode_on_clean_whole_windows(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a high rate the average lags behind the weights that are trained."""
    runs, seen, lags = list[Any](), set[tuple[bool, bool, bool]](), list[bool]()
    gradient, genuine = trainer._Run._gradient, trainer.distillation

    def note(run: Any, *given: Any) -> float:
        runs.append(run)
        return gradient(run, *given)

    def spy(teacher: MCULoRA, batch: Any, out: Any) -> Tensor:
        one, other = (teacher(*batch.teacher).logits for _ in range(2))
        assert (batch.teacher[1] == COMBINATIONS.index("atv")).all()
        assert runs[-1].raw.training, "the student keeps its dropout"
        seen.add((any(m.training for m in teacher.modules()), torch.equal(one, other), teacher is runs[-1].mean.module))
        pairs = zip(teacher.parameters(), runs[-1].raw.parameters(), strict=True)
        lags.append(any(not torch.equal(a, b) for a, b in pairs))
        return genuine(teacher, batch, out)

    monkeypatch.setattr(trainer._Run, "_gradient", note)
    monkeypatch.setattr(trainer, "distillation", spy)
    noisy = {**TINY, "dropout": 0.5, "gate_noise": 0.5}
    trained(epochs=(1, 0, 1), distill=0.2, average=0.9, model=noisy)
    assert seen == {(False, True, True)}
    assert lags[-1]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"token_dropout": 0.5}, "project"),
        ({"noise": 0.5}, "project"),
        ({"complete": 1.0}, "project"),
        ({"warm_up": 0.0}, "heads"),
        ({"last_rate": 1.0}, "heads"),
        ({"average": 0.9}, "heads"),
        ({"seed": 1}, "heads"),
        ({"scale": False}, "project"),
    ],
    ids=str,
)
def test_a_setting_of_the_training_reaches_the_weights(change: dict[str, Any], place: str, trained: Train) -> None:
    assert differs(trained(), trained(**change), place)


@pytest.mark.parametrize(
    "change",
    [
        {"experts": False},
        {"adapters": False},
        {"shared_pair": False},
        {"top": 1},
        {"pool": "each"},
        {"pool": "adaptive"},
        {"dropout": 0.5},
        {"gate_noise": 3.0},
        {"adapter_dropout": 0.9},
    ],
    ids=str,
)
def test_a_switch_of_the_model_reaches_the_outputs(change: dict[str, Any], trained: Train, mosi: Rows) -> None:
    one = trained(epochs=(1, 1, 0))
    other = trained(epochs=(1, 1, 0), model={**TINY, **change})
    data = SampleSet(mosi, splits(mosi, 0)[0]["dev"], one.scales).all()
    c = data.shape(torch.zeros(len(data), dtype=torch.int64))
    with torch.no_grad():
        assert not torch.equal(one.model()(data.given(c), c).sentiment, other.model()(data.given(c), c).sentiment)


def test_mixup_blends_windows_and_labels_of_clips(mosi: Rows, trained: Train) -> None:
    clips = replace(mosi, layout=replace(mosi.layout, readout="window"))
    assert differs(trained(clips), trained(clips, mixup=0.4), "heads")
    split = splits(clips, 0)[0]["train"]
    source = RowSource(plan(mixup=0.4, scale=False, batch=12), clips, split, {})
    batch = next(iter(source.batches(_epoch())))
    assert batch.mixed is not None
    share, order = batch.mixed
    alone = replace(batch, mixed=None)
    other = replace(alone, **{name: getattr(batch, name)[order] for name in ("emotion", "score", "ordinal")})
    out = MCULoRA(plan().model_config(clips))(batch.windows, batch.combination)
    whole, parts = task_loss(out, batch, plan()), [task_loss(out, x, plan()) for x in (alone, other)]
    assert torch.allclose(whole, share * parts[0] + (1 - share) * parts[1])
    assert not torch.allclose(whole, parts[0])


def test_stage_0_draws_the_full_combination_at_least_as_often_as_its_share(mosi: Rows, tmp_path: Path) -> None:
    split = splits(mosi, 0)[0]
    run = trainer._Run(plan(complete=0.3), mosi, split, tmp_path, Fabric(accelerator="cpu", devices=1))
    shares = run._shares(0)
    assert shares.sum() == pytest.approx(1)
    assert shares[COMBINATIONS.index("atv")] == pytest.approx(0.3 + 0.7 / 7)
    assert shares[1:] == pytest.approx(np.full(6, 0.1))


def test_a_batch_of_an_epoch_of_distillation_alone_has_a_teacher(mosi: Rows) -> None:
    split = splits(mosi, 0)[0]
    source = RowSource(plan(scale=False), mosi, split["train"], {})

    assert all(batch.teacher is None for batch in source.batches(_epoch()))
    assert all(batch.teacher is not None for batch in source.batches(_epoch(distil=True)))


def _epoch(distil: bool = False) -> Epoch:
    shares, random = np.full(7, 1 / 7), np.random.default_rng(0)
    return Epoch(shares, np.random.default_rng(0), random, torch.device("cpu"), distil=distil)


def test_a_step_of_a_vast_gradient_is_clipped(trained: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    genuine = Fabric.clip_gradients

    def spy(self: Fabric, model: Any, optimizer: Any, **options: Any) -> Any:
        out = genuine(self, model, optimizer, **options)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack([g.norm() for g in grads]).norm().item())
        return out

    monkeypatch.setattr(Fabric, "clip_gradients", spy)
    monkeypatch.setattr(trainer, "objective", lambda out, batch, e: 1e6 * out.polarity.square().sum())
    trained()
    assert norms
    assert max(norms) <= trainer.CLIP * 1.001
