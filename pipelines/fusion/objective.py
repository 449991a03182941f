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


def distillation(teacher: MCULoRA, batch: Batch, out: Readout) -> Tensor:
    """Outputs of subsets towards those of ``teacher``, in evaluation mode, on the batch with all modalities of the set.

    Dropout and router noise in the teacher would be learned as if they were knowledge.
    """
    assert batch.teacher is not None
    assert not teacher.training
    windows, everything = batch.teacher
    kept = batch.combination != everything
    if not kept.any():
        return out.logits.sum() * 0
    with torch.no_grad():
        target = teacher(windows, everything)
    terms = []
    if "emotion" in teacher.config.tasks:
        student, truth = torch.log_softmax(out.logits[kept], -1), torch.softmax(target.logits[kept], -1)
        terms.append(functional.kl_div(student, truth, reduction="batchmean"))
    if "sentiment" in teacher.config.tasks:
        terms.append(functional.smooth_l1_loss(out.sentiment[kept], target.sentiment[kept]))
    return torch.stack(terms).sum()
