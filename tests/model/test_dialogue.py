"""The dialogue readout: one estimate per utterance, presence by utterance (T1, T2, T3, T12, T14)."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, modalities_of
from edge_mer.model import MCULoRA, Window, dialogue
from edge_mer.model import mculora as mculora_module
from edge_mer.model.config import PoolKind
from edge_mer.model.mcla import MCLALinear
from tests.model.scene import DIALOGUE, active_model, dialogue_batch, distance, rows, run_dialogue, same_bits


@pytest.fixture(scope="module", params=get_args(PoolKind))
def model(request: pytest.FixtureRequest) -> MCULoRA:
    return active_model(replace(DIALOGUE, pool=request.param))


def test_every_utterance_has_its_estimate(model: MCULoRA) -> None:
    out = run_dialogue(model, *dialogue_batch(2, 5))
    assert out.logits.shape == (2, 5, 7)
    assert out.sentiment.shape == (2, 5, 1)
    assert out.sentiment.abs().max() <= 3


def indifferent(model: MCULoRA, fill: float) -> bool:
    values, utterances, present = dialogue_batch(3, 6)
    here = present & (utterances > 0)[..., None]
    other = {
        m: torch.where(here[..., i, None], values[m], torch.full_like(values[m], fill))
        for i, m in enumerate(MODALITIES)
    }
    return same_bits(run_dialogue(model, values, utterances, present), run_dialogue(model, other, utterances, present))


@pytest.mark.parametrize("fill", [1e4, -1e4, torch.nan, torch.inf])
def test_t1_absent_modality_of_an_utterance_cannot_change_one_bit(model: MCULoRA, fill: float) -> None:
    assert indifferent(model, fill)


def test_t1_check_detects_a_missing_select(model: MCULoRA, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Window
    monkeypatch.setattr(
        mculora_module, "select", lambda w, m, c: whole(w.tokens, torch.ones_like(w.mask), torch.zeros_like(w.age))
    )
    assert not indifferent(model, 1e4)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t2_the_merged_model_equals_the_gathered_one(model: MCULoRA, combination: Combination) -> None:
    values, utterances, present = dialogue_batch(2, 5)
    used = modalities_of(combination)
    present = torch.tensor([m in used for m in MODALITIES]).expand_as(present)
    windows, index = dialogue(values, utterances, present)
    merged = model.merged(combination)({m: windows[m] for m in used})
    real = (utterances > 0)[..., None]
    gathered = model(windows, index)
    assert ((gathered.logits - merged.logits) * real).abs().max() <= 1e-5
    assert ((gathered.sentiment - merged.sentiment) * real).abs().max() <= 1e-5


def test_t3_padding_uses_no_adapter(model: MCULoRA) -> None:
    values, utterances, present = dialogue_batch(2, 6)
    present = torch.tensor([True, False, True]).expand_as(present)
    run_dialogue(model, values, utterances, present).logits.sum().backward()
    layer = model.branches["audio"].project
    assert isinstance(layer, MCLALinear)
    with_gradient = [c for i, c in enumerate(COMBINATIONS) if layer.specific[i].b.grad is not None]
    model.zero_grad(set_to_none=True)
    assert with_gradient == ["at"]


def test_t12_a_batch_equals_its_dialogues_one_by_one(model: MCULoRA) -> None:
    values, utterances, present = dialogue_batch(4, 6)
    together = run_dialogue(model, values, utterances, present)
    for i in range(4):
        one = slice(i, i + 1)
        alone = run_dialogue(model, {m: v[one] for m, v in values.items()}, utterances[one], present[one])
        assert distance(rows(together, one), alone) <= 1e-6


def test_t14_padding_changes_no_utterance(model: MCULoRA) -> None:
    values, utterances, present = dialogue_batch(2, 4)
    longer = {m: torch.cat([v, torch.randn(2, 3, v.shape[-1])], 1) for m, v in values.items()}
    more = torch.cat([utterances, torch.zeros(2, 3)], 1)
    also = torch.cat([present, torch.ones(2, 3, 3, dtype=torch.bool)], 1)
    one, other = run_dialogue(model, values, utterances, present), run_dialogue(model, longer, more, also)
    assert (one.logits - other.logits[:, :4]).abs().max() <= 1e-6
    assert (one.sentiment - other.sentiment[:, :4]).abs().max() <= 1e-6


def test_utterances_influence_each_other(model: MCULoRA) -> None:
    values, utterances, present = dialogue_batch(1, 5)
    present = torch.ones_like(present)
    other = {m: v.clone() for m, v in values.items()}
    other["text"][:, 0] += 1
    utterances = torch.ones_like(utterances)
    changed = (
        run_dialogue(model, values, utterances, present).logits - run_dialogue(model, other, utterances, present).logits
    )
    assert (changed.abs().amax((0, 2)) > 0).all()


def test_an_utterance_without_any_modality_has_a_finite_estimate(model: MCULoRA) -> None:
    values, utterances, present = dialogue_batch(2, 4)
    out = run_dialogue(model, values, utterances, torch.zeros_like(present))
    assert torch.isfinite(out.logits).all()
    assert torch.isfinite(out.sentiment).all()
