"""Folds several trainings of the expression network into one student of the same size (Hinton et al. 2015).

``python -m pipelines.train face --fold runs/0 runs/1``: the student begins as the first of them. It learns, mostly,
what they say of the same changed picture, and to a lesser part what people said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.data.corpora import DataError
from pipelines.data.faces import fer2013_votes
from pipelines.encoders import checkpoint
from pipelines.encoders import face as single
from pipelines.encoders.face import AVERAGE, BATCH, MIXED, facts_of, measured, pictures
from pipelines.encoders.nets import FaceNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log

EPOCHS, RATE, SOFT = 8, 6e-4, 2.0
# The last epochs are on faces as they will come; before them pictures are changed less than in the first training.
LAST: Final = 3
STRENGTH: Final = 0.8
# What the label's word weighs beside that of the networks, which is 1.
LABEL: Final = 1 / 2


def network(folder: Path) -> FaceNet:
    """The network trained in ``folder``. Raises DataError for another folder."""
    net = FaceNet()
    try:
        net.load_state_dict(dict(checkpoint.load(folder / "face.pt").weights))
    except RuntimeError as error:
        raise DataError(f"{folder / 'face.pt'} holds another network than FaceNet; train it again: {error}") from error
    out: FaceNet = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return out


def mean_logits(nets: Sequence[FaceNet], seen: Tensor) -> Tensor:
    """Mean logits [B, 2, 7] of ``nets``, which are in evaluation mode."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        close = seen.contiguous(memory_format=torch.channels_last)
        return torch.stack([net(close).float() for net in nets]).mean(0)


def loss_of(logits: Tensor, target: Tensor, soft: Tensor, weight: Tensor) -> Tensor:
    """Of ``logits`` [B, 2, 7] beside the teachers' ``soft`` probabilities [B, 2, 7]; ``target``, ``weight`` as in
    Pictures."""
    divergence = functional.kl_div(functional.log_softmax(logits / SOFT, -1), soft, reduction="none").sum(-1)
    return LABEL * single.loss_of(logits, target, weight) + SOFT**2 * (weight[:, None] * divergence).mean()


def train(root: Path, out: Path, folders: Sequence[Path], epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from an unfinished ``out/face.pt``; returns the facts of the card."""
    log = Log(out / "face.log")
    if out.resolve() in [f.resolve() for f in folders]:
        raise DataError(f"--out {out} is one of the folders to fold; name another")
    teachers, net = [network(f).eval() for f in folders], network(folders[0])
    shown, dev = pictures(root, seed), fer2013_votes(root, "dev")
    progress = begin(net, out / "face.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(shown.images) / BATCH)
    facts: dict[str, Any] = {**facts_of(seed), "folded": len(teachers)}
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), gentle, total = numbers_of(seed, epoch), epoch >= epochs - LAST, 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(shown.images), generator=random), BATCH)):
            seen, target = shown.batch(index, random, 0.4 if gentle else STRENGTH)
            soft = functional.softmax(mean_logits(teachers, seen) / SOFT, -1)
            if not gentle:
                share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
                seen, target, soft = (share * x + (1 - share) * x[order] for x in (seen, target, soft))
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(seen.contiguous(memory_format=torch.channels_last)).float()
            loss = loss_of(logits, target, soft, shown.weight[index])
            total += progress.step(loss, (epoch + step / steps) / epochs)
        facts |= measured(progress.kept, dev)
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
        progress.save(facts, epoch + 1)
    return facts
