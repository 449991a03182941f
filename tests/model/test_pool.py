"""The task-adaptive pooling against a sum that is written out, for each of its kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.model.config import PoolKind
from edge_mer.model.layers import TaskPool
from tests.model.scene import CONFIG

LENGTHS: dict[Modality, int] = {"audio": 5, "video": 3, "text": 4}


def pool(kind: PoolKind) -> TaskPool:
    torch.manual_seed(0)
    out = TaskPool(replace(CONFIG, pool=kind))
    for parameter in out.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return out.eval()


def scene() -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    """One sample with some masked tokens; the video is absent."""
    torch.manual_seed(1)
    masks = {m: (torch.arange(n) % 3 != 1).float()[None] for m, n in LENGTHS.items()}
    masks["video"] = torch.zeros(1, LENGTHS["video"])
    features = {m: torch.randn(1, n, CONFIG.width) * masks[m][..., None] for m, n in LENGTHS.items()}
    return features, masks


def weighted(vectors: list[Tensor], scores: list[float]) -> Tensor:
    weights = torch.softmax(torch.tensor(scores), 0)
    return torch.stack([w * v for w, v in zip(weights, vectors, strict=True)]).sum(0)


def by_hand(net: TaskPool, kind: PoolKind, features: dict[Modality, Tensor], masks: dict[Modality, Tensor]) -> Tensor:
    def score(y: Tensor, hidden: torch.nn.Linear, last: torch.nn.Linear, prior: float = 0.0) -> float:
        return float(last.weight[0] @ torch.tanh(hidden.weight @ y + hidden.bias)) + prior

    valid = {m: [y for y, kept in zip(features[m][0], masks[m][0], strict=True) if kept] for m in MODALITIES}
    if kind == "joint":
        pairs = [(y, score(y, net.hidden, net.score, float(net.modality[m]))) for m in MODALITIES for y in valid[m]]
        return weighted([y for y, _ in pairs], [s for _, s in pairs])
    means = {m: weighted(ys, [score(y, net.hidden, net.score) for y in ys]) for m, ys in valid.items() if ys}
    if kind == "each":
        return torch.stack(list(means.values())).sum(0)
    scores = [score(z, net.across, net.across_score, float(net.modality[m])) for m, z in means.items()]
    return len(means) * weighted(list(means.values()), scores)


@pytest.mark.parametrize("kind", get_args(PoolKind))
def test_pool_is_the_weighted_sum_of_its_definition(kind: PoolKind) -> None:
    net, (features, masks) = pool(kind), scene()
    with torch.no_grad():
        assert torch.allclose(net(features, masks)[0], by_hand(net, kind, features, masks), atol=1e-6)


@pytest.mark.parametrize("kind", get_args(PoolKind))
def test_scores_decide_the_weights(kind: PoolKind) -> None:
    """The weight of a token with a high score is far from the even one."""
    net, (features, masks) = pool(kind), scene()
    with torch.no_grad():
        before = net(features, masks)
        net.score.weight.mul_(1e-3)
        assert (net(features, masks) - before).abs().max() > 0.05


def test_adaptive_pool_with_even_weights_is_the_sum_of_each() -> None:
    each, adaptive = pool("each"), pool("adaptive")
    adaptive.load_state_dict({**adaptive.state_dict(), **each.state_dict()})
    features, masks = scene()
    with torch.no_grad():
        adaptive.across_score.weight.zero_()
        for prior in adaptive.modality.values():
            prior.zero_()
        assert torch.allclose(adaptive(features, masks), each(features, masks), atol=1e-6)
