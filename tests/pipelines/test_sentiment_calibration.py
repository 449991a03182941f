"""The sentiment head under texts as they come: a shift of the draw is found, folded in, and then gone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_mer.contract.domain import COMBINATIONS, MODALITIES
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.inputs import Window
from pipelines.data.corpora import NO_ORDINAL
from pipelines.fusion.sentiment_calibration import Refit, calibrate, fold_in, polarity_of, refit
from pipelines.fusion.windows import Example, text_track

torch.set_num_threads(1)
TRUE = torch.tensor([0.6, 0.2, -0.8])


def model() -> MCULoRA:
    """Small and random, its adapters not zero."""
    torch.manual_seed(0)
    net = MCULoRA(MCULoRAConfig(width=16, heads=2, blocks=1, rank=2, block_rank=2))
    with torch.no_grad():
        for p in net.adapter_parameters():
            p.normal_(std=0.3)
    return net.eval()


def labelled(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, 3] and orders drawn as half of the logits plus TRUE says."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 3, generator=random)
    order = torch.multinomial(torch.softmax(0.5 * logits + TRUE, -1), 1, generator=random)[:, 0] - 1
    return logits, order


def examples(count: int) -> list[Example]:
    random = np.random.default_rng(0)
    tracks = [text_track(random.normal(size=(5, 64)).astype(np.float32)) for _ in range(count)]
    return [Example({"text": t}, ordinal=-1 if i % 4 == 0 else 1) for i, t in enumerate(tracks)]


def test_the_scale_and_offsets_that_drew_the_labels_are_found() -> None:
    logits, order = labelled(6000)
    found = refit(logits, order, torch.full((6000,), torch.nan))
    assert found.scale == pytest.approx(0.5, abs=0.06)
    assert (found.offset - TRUE).abs().max() < 0.1


def test_scores_count_as_orders_do() -> None:
    logits, order = labelled(3000)
    scored = refit(logits, torch.full((3000,), NO_ORDINAL), torch.full((3000,), 2.5))
    assert scored.offset.argmax() == 2
    assert (
        refit(logits, order, torch.full((3000,), 2.5)).offset[2]
        > refit(logits, order, torch.full((3000,), torch.nan)).offset[2]
    )


@pytest.mark.parametrize("combination", ["t", "atv"])
def test_refit_applies_to_every_combination(combination: str) -> None:
    net = model()
    windows = {
        m: Window(torch.randn(3, 4, net.config.dims[m]), torch.ones(3, 4), torch.zeros(3, 4)) for m in MODALITIES
    }
    chosen = torch.full((3,), COMBINATIONS.index(combination))
    before = net(windows, chosen)
    fold_in(net, Refit(0.7, TRUE))
    after = net(windows, chosen)
    assert torch.allclose(after.polarity, 0.7 * before.polarity + TRUE, atol=1e-5)
    assert torch.equal(after.logits, before.logits)


def test_calibration_is_idempotent() -> None:
    net, texts = model(), examples(400)
    first = calibrate(net, texts)
    polarity = polarity_of(net, texts)
    second = calibrate(net, texts)
    assert abs(first.offset[2]) > 0.1
    assert abs(second.scale - 1) < 0.02
    assert (polarity_of(net, texts) - polarity).abs().max() < 0.05
