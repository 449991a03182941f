"""The sentiment of a fusion model under texts as they come.

Fusion trains on the seven emotions alike, and four of them are negative: in such a draw nearly two texts in three are,
where people write one in four. The head then fits that draw, and is too negative for texts as people write them. Here
three offsets and one scale of its logits are fitted on train texts in their own proportions, under the loss of the
training, and folded into the head's weights (as the logit adjustment of Menon et al. 2021, but fitted).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.model import MCULoRA
from edge_mer.model.layers import Head
from edge_mer.model.losses import sentiment_loss
from edge_mer.model.mcla import MCLALinear
from pipelines.data.corpora import NO_ORDINAL
from pipelines.fusion.windows import Example, Placed, collate

_STEPS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Logits of negative, neutral, positive become ``scale`` times themselves plus ``offset`` [3], whose sum is 0."""

    scale: float
    offset: Tensor


def calibrate(model: MCULoRA, texts: Sequence[Example]) -> Refit:
    """Refit the sentiment of ``model`` in place on ``texts`` alone; done again on the same texts it changes nothing."""
    ordinal, score = torch.tensor([t.ordinal for t in texts]), torch.tensor([t.score for t in texts])
    found = refit(polarity_of(model, texts), ordinal, score)
    fold_in(model, found)
    return found


def polarity_of(model: MCULoRA, texts: Sequence[Example]) -> Tensor:
    """Logits [n, 3] of each text alone, in evaluation mode."""
    model.eval()
    logits = []
    with torch.no_grad():
        for start in range(0, len(texts), 256):
            placed: list[Placed] = [{"text": (t.tracks["text"], 0.0)} for t in texts[start : start + 256]]
            alone = torch.full((len(placed),), COMBINATIONS.index("t"))
            logits.append(model(collate(placed, model.config), alone).polarity)
    return torch.cat(logits)


def refit(polarity: Tensor, ordinal: Tensor, score: Tensor) -> Refit:
    """What fits polarity [n, 3] best to the orders [n], and to the scores [n] where there is one; both weigh alike."""
    ranked, scored, score = ordinal != NO_ORDINAL, ~torch.isnan(score), score.float()
    unknown = torch.full_like(score, torch.nan)
    scale, offset = torch.ones((), requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, offset], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        refitted = polarity * scale + offset
        value = sentiment_loss(refitted[ranked], unknown[ranked], ordinal[ranked])
        value = value + sentiment_loss(refitted[scored], score[scored])
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Refit(scale.item(), (offset - offset.mean()).detach())


def fold_in(model: MCULoRA, found: Refit) -> None:
    """Into the last layer of the sentiment head, for every combination."""
    head = model.heads["sentiment"]
    assert isinstance(head, Head)
    last = head.fc2
    base = last.base if isinstance(last, MCLALinear) else last
    pairs = [] if not isinstance(last, MCLALinear) else [p for p in (last.shared, *last.specific) if p is not None]
    with torch.no_grad():
        for matrix in (base.weight, base.bias, *(pair.b for pair in pairs)):
            matrix *= found.scale
        base.bias.add_(found.offset)
