"""Folds several trainings of the expression network into one student of the same size (Hinton et al. 2015).

``python -m pipelines.train face --fold runs/0 runs/1``: the student begins as the first of them. It learns, mostly,
what they and mini-XCEPTION say of the same changed picture, and to a lesser part the label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.data.corpora import LICENCES, DataError, fer2013
from pipelines.encoders import checkpoint
from pipelines.encoders.face import AVERAGE, BATCH, MIXED, SOFT, Teacher, measured, pictures, targets
from pipelines.encoders.face_augment import augment
from pipelines.encoders.nets import FaceNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log

EPOCHS, RATE = 8, 6e-4
# The last epochs are on faces as they will come; before them pictures are changed less than in the first training.
LAST: Final = 3
STRENGTH: Final = 0.8
# What mini-XCEPTION's word and the label's weigh beside that of the networks, which is 1.
OLD, LABEL = 1 / 2, 1 / 2


def network(folder: Path) -> FaceNet:
    """The network trained in ``folder``. Raises DataError for another folder."""
    net, weights = FaceNet(), dict(checkpoint.load(folder / "face.pt").weights)
    hint = {f"hint.{name}": value for name, value in net.hint.state_dict().items()}  # not every training had one
    try:
        net.load_state_dict(hint | weights)
    except RuntimeError as error:
        raise DataError(f"{folder / 'face.pt'} holds another network than FaceNet; train it again: {error}") from error
    out: FaceNet = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return out


def mean_logits(nets: Sequence[FaceNet], seen: Tensor) -> Tensor:
    """Mean logits [B, 7] of ``nets``, which are in evaluation mode."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        close = seen.contiguous(memory_format=torch.channels_last)
        return torch.stack([net(close).float() for net in nets]).mean(0)


def loss_of(logits: Tensor, label: Tensor, soft: Tensor, shift: Tensor) -> Tensor:
    """Of ``logits`` [B, 7] beside the teachers' ``soft`` probabilities [B, 7]; ``shift`` as in Pictures."""
    divergence = functional.kl_div(functional.log_softmax(logits / SOFT, -1), soft, reduction="batchmean")
    return LABEL * functional.cross_entropy(logits + shift, label) + SOFT**2 * divergence


def train(root: Path, out: Path, folders: Sequence[Path], epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from an unfinished ``out/face.pt``; returns the facts of the card."""
    log = Log(out / "face.log")
    if out.resolve() in [f.resolve() for f in folders]:
        raise DataError(f"--out {out} is one of the folders to fold; name another")
    teachers, old, net = [network(f).eval() for f in folders], Teacher(root), network(folders[0])
    shown, dev = pictures(root, seed), fer2013(root, "dev")
    progress = begin(net, out / "face.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(shown.labels) / BATCH)
    facts: dict[str, Any] = {"data": ["fer2013"], "licence": LICENCES["fer2013"], "seed": seed, "folded": len(teachers)}
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), gentle, total = numbers_of(seed, epoch), epoch >= epochs - LAST, 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(shown.labels), generator=random), BATCH)):
            seen = augment(shown.images[index], random, 0.4 if gentle else STRENGTH)
            label = targets(shown.labels[index])
            taught = (mean_logits(teachers, seen) + OLD * old(seen)[0]) / (1 + OLD)
            soft = torch.where((index < shown.real)[:, None], functional.softmax(taught / SOFT, -1), label)
            if not gentle:
                share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
                seen, label, soft = (share * x + (1 - share) * x[order] for x in (seen, label, soft))
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(seen.contiguous(memory_format=torch.channels_last)).float()
            total += progress.step(loss_of(logits, label, soft, shown.shift), (epoch + step / steps) / epochs)
        facts |= measured(progress.kept, dev)
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
        progress.save(facts, epoch + 1)
    return facts
