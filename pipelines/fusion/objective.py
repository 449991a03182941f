"""The loss of a batch: L_SA + L_ER + 0.1 L_ort + 0.01 L_bal, and self-distillation (ALGORITHMS.md 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edge_mer.model import MCULoRA, Readout
from edge_mer.model.losses import balance, emotion_loss, orthogonality, sentiment_loss
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.sources import Batch


def objective(out: Readout, batch: Batch, experiment: Experiment) -> Tensor:
    """What stages 0 and 1 minimise."""
    loss = task_loss(out, batch, experiment)
    if experiment.ortho:
        loss = loss + experiment.ortho * orthogonality(out.trace)
    if experiment.balance:
        loss = loss + experiment.balance * balance(out.trace)
    return loss


def task_loss(out: Readout, batch: Batch, experiment: Experiment) -> Tensor:
    """Both tasks, each over the places that have its label; a mixed batch has two truths."""
    labels = batch.emotion, batch.score, batch.ordinal
    one = _tasks(out, labels, experiment)
    if batch.mixed is None:
        return one
    share, order = batch.mixed
    return share * one + (1 - share) * _tasks(out, tuple(x[order] for x in labels), experiment)


def _tasks(out: Readout, labels: tuple[Tensor, ...], experiment: Experiment) -> Tensor:
    emotion, score, ordinal = labels
    logits = out.logits.reshape(*emotion.shape, -1)
    polarity = out.polarity.reshape(*emotion.shape, -1)
    return emotion_loss(logits, emotion, smoothing=experiment.smoothing) + sentiment_loss(polarity, score, ordinal)


def distillation(model: MCULoRA, batch: Batch, out: Readout) -> Tensor:
    """Outputs of subsets towards the stopped output of the batch's teacher, which has all modalities of the set."""
    assert batch.teacher is not None
    windows, everything = batch.teacher
    with torch.no_grad():
        teacher = model(windows, everything)
    kept = batch.combination != everything
    if not kept.any():
        return out.logits.sum() * 0
    terms = []
    if "emotion" in model.config.tasks:
        student, target = torch.log_softmax(out.logits[kept], -1), torch.softmax(teacher.logits[kept], -1)
        terms.append(functional.kl_div(student, target, reduction="batchmean"))
    if "sentiment" in model.config.tasks:
        terms.append(functional.smooth_l1_loss(out.sentiment[kept], teacher.sentiment[kept]))
    return torch.stack(terms).sum()
