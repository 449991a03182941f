"""The controls of the adapters: none, those of another combination, and how large they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.model import MCULoRA
from edge_mer.model.mcla import MCLALinear
from pipelines.data import feature_sets as sets
from pipelines.study import adapters
from pipelines.study import experiment_cell as cells
from pipelines.study.experiment_cell import SYSTEMS
from tests.model.scene import CONFIG, active_model, distance, index, windows
from tests.pipelines.feature_files import write


def test_zeroed_adapters_leave_the_base() -> None:
    model = active_model()
    bare = adapters.changed(model, "zeroed")
    assert adapters.share(bare) == 0
    for layer in bare.modules():
        if isinstance(layer, MCLALinear):
            assert all(torch.equal(layer.merged(c).weight, layer.base.weight) for c in range(7))
    assert distance(model(windows(2), index("av", 2)), bare(windows(2), index("av", 2))) > 0.01


def test_rotated_adapters_are_those_of_another_combination_that_reads_the_layer() -> None:
    model = active_model()
    other = adapters.changed(model, "rotated")
    before, after = dict(model.named_modules()), dict(other.named_modules())
    audio = [i for i, c in enumerate(COMBINATIONS) if "a" in c]
    for name in (n for n, m in before.items() if isinstance(m, MCLALinear)):
        one, two = before[name], after[name]
        assert isinstance(one, MCLALinear)
        assert isinstance(two, MCLALinear)
        assert torch.equal(one.base.weight, two.base.weight)
        if "branches.audio" in name:
            for c, follows in zip(audio, audio[1:] + audio[:1], strict=True):
                assert torch.equal(two.merged(c).weight, one.merged(follows).weight)
    assert adapters.share(other) == pytest.approx(adapters.share(model), rel=1e-5)


def test_share_is_the_norm_of_the_pairs_beside_that_of_the_base() -> None:
    model = active_model()
    assert adapters.share(MCULoRA(CONFIG)) == 0
    assert adapters.share(MCULoRA(replace(CONFIG, adapters=False))) == 0
    whole = adapters.share(model)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, MCLALinear):
                layer.base.weight.mul_(2)
    assert adapters.share(model) == pytest.approx(whole / 2, rel=1e-4)


def test_a_control_of_the_adapters_scores_the_model_that_the_full_row_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sets.read("mosi", write(tmp_path, "mosi"))
    quick = {"epochs": (1, 1, 0), "model": {"width": 8, "blocks": 1, "heads": 2}}
    genuine = cells.configured
    monkeypatch.setattr(cells, "configured", lambda d, s, seed: replace(genuine(d, s, seed), **quick))
    runs, late = tmp_path / "runs", float("inf")

    def keep(name: str) -> Path:
        return runs / "mosi" / name / "0.models"

    full = cells.run(rows, "full", 0, tmp_path / "work", late, keep("full"))
    assert full.facts["folds"][0]["adapters"][0] > 0
    monkeypatch.setattr(cells, "train", lambda *_: pytest.fail("it was trained again"))
    zeroed = cells.run(rows, "zeroed", 0, tmp_path / "work2", late, keep("zeroed"))
    assert any((zeroed.answers.sentiment[c] != full.answers.sentiment[c]).any() for c in COMBINATIONS)
    assert {"minus-adapters", "zeroed", "rotated"} <= set(SYSTEMS)
