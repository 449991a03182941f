"""The loss of a batch: L_SA + L_ER + 0.1 L_ort + 0.01 L_bal, and self-distillation (ALGORITHMS.md 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, modalities_of
from edge_mer.model import MCULoRA, Readout
from edge_mer.model.inputs import presence
from edge_mer.model.losses import balance, emotion_loss, orthogonality, sentiment_loss
from pipelines.fusion.augment import Mixed
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.samples import Samples


def objective(out: Readout, some: Samples, experiment: Experiment, mix: Mixed | None = None) -> Tensor:
    """What stages 0 and 1 minimise."""
    loss = task_loss(out, some, experiment, mix)
    if experiment.ortho:
        loss = loss + experiment.ortho * orthogonality(out.trace)
    if experiment.balance:
        loss = loss + experiment.balance * balance(out.trace)
    return loss


def task_loss(out: Readout, some: Samples, experiment: Experiment, mix: Mixed | None = None) -> Tensor:
    """Both tasks, each over the places that have its label; a mixed batch has two truths."""
    if mix is None:
        return _tasks(out, some.emotion, some.score, some.ordinal, experiment)
    one = _tasks(out, some.emotion, some.score, some.ordinal, experiment)
    emotion, score, ordinal = (x[mix.order] for x in (some.emotion, some.score, some.ordinal))
    other = _tasks(out, emotion, score, ordinal, experiment)
    return mix.share * one + (1 - mix.share) * other


def _tasks(out: Readout, emotion: Tensor, score: Tensor, ordinal: Tensor, experiment: Experiment) -> Tensor:
    logits = out.logits.reshape(*emotion.shape, -1)
    polarity = out.polarity.reshape(*emotion.shape, -1)
    return emotion_loss(logits, emotion, smoothing=experiment.smoothing) + sentiment_loss(polarity, score, ordinal)


def distillation(model: MCULoRA, some: Samples, combination: Tensor, out: Readout) -> Tensor:
    """Outputs of subsets towards the stopped output of everything that the set has, of samples with at least two."""
    full = presence(combination).any(-1)
    present = [m for m in MODALITIES if some.windows[m].tokens.shape[-1] > 1]
    whole = next(i for i, c in enumerate(COMBINATIONS) if modalities_of(c) == tuple(present))
    everything = torch.where(full, torch.full_like(combination, whole), combination)
    with torch.no_grad():
        teacher = model(some.given(everything), everything)
    kept = full & (combination != whole)
    if len(present) < 2 or not kept.any():
        return out.logits.sum() * 0
    terms = []
    if "emotion" in model.config.tasks:
        said, truth = torch.log_softmax(out.logits[kept], -1), torch.softmax(teacher.logits[kept], -1)
        terms.append(functional.kl_div(said, truth, reduction="batchmean"))
    if "sentiment" in model.config.tasks:
        terms.append(functional.smooth_l1_loss(out.sentiment[kept], teacher.sentiment[kept]))
    return torch.stack(terms).sum()
