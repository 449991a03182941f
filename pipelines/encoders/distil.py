"""Trains the expression network on from one or several trainings of it, with teachers (Hinton et al. 2015).

``python -m pipelines.train face --fold runs/0 [runs/1 ...]``: the student begins as the first, at a smaller rate
(Loshchilov and Hutter 2017). Of FER2013's own labels it learns also what mini-XCEPTION (MIT) says of the same changed
picture (Beyer et al. 2022); of several trainings also what they say together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.domain import EMOTIONS
from pipelines.data.corpora import DataError
from pipelines.data.faces import fer2013_votes
from pipelines.encoders import checkpoint, face_readable
from pipelines.encoders import face as single
from pipelines.encoders.face import AVERAGE, BATCH, MIXED, UNREADABLE, facts_of, measured, pictures
from pipelines.encoders.nets import FaceNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log

TEACHER_ORDER: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EPOCHS, RATE, SOFT = 10, 1e-3, 3.0
# The last epochs are on faces as they will come; before them pictures are changed less than in the first training.
LAST: Final = 4
STRENGTH: Final = 0.7
# What the teachers weigh in the loss, beside 1 of the votes.
TAUGHT: Final = 0.5


class Teacher:
    """mini-XCEPTION through ONNX Runtime. Raises DataError when it is not at hand."""

    def __init__(self, root: Path) -> None:
        path = root / "models" / "mini_xception_fer2013.onnx"
        if not path.is_file():
            raise DataError(f"{path} is absent; its folder's README names the source")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        self._columns = [TEACHER_ORDER.index(e) for e in EMOTIONS]

    def __call__(self, faces: Tensor) -> Tensor:
        """Logits [B, 7] in our order for faces [B, 1, 48, 48] in [0, 1]."""
        x = functional.interpolate(faces, (64, 64), mode="bilinear")
        (logits,) = self._session.run(["logits"], {self._session.get_inputs()[0].name: ((x - 0.5) * 2).numpy()})
        return torch.from_numpy(logits[:, self._columns])


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


def teachings(nets: Sequence[FaceNet], teacher: Callable[[Tensor], Tensor], seen: Tensor) -> tuple[Tensor, Tensor]:
    """What the teachers say of ``seen``: probabilities [B, 2, 7] at SOFT, and which of both heads they teach [2]. One
    net alone teaches nothing: it is the student."""
    search = teacher(seen)
    if len(nets) == 1:
        logits, heads = torch.stack([search, search], 1), torch.tensor([0.0, 1.0])
    else:
        votes, own = mean_logits(nets, seen).unbind(1)
        logits, heads = torch.stack([votes, (own + search) / 2], 1), torch.ones(2)
    return functional.softmax(logits / SOFT, -1), heads


def loss_of(logits: Tensor, target: Tensor, weight: Tensor, soft: Tensor, heads: Tensor) -> Tensor:
    """Of ``logits`` [B, 2, 7]: ``target`` and ``weight`` as in Pictures, ``soft`` and ``heads`` [B, 2] of the
    teachers."""
    divergence = functional.kl_div(functional.log_softmax(logits / SOFT, -1), soft, reduction="none").sum(-1)
    return (
        single.loss_of(logits, target, weight) + TAUGHT * SOFT**2 * (weight[:, None] * heads * divergence).sum(1).mean()
    )


def train(root: Path, out: Path, folders: Sequence[Path], epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from an unfinished ``out/face.pt``; returns the facts of the card."""
    log = Log(out / "face.log")
    if out.resolve() in [f.resolve() for f in folders]:
        raise DataError(f"--out {out} is one of the folders to fold; name another")
    nets, teacher, net = [network(f).eval() for f in folders], Teacher(root), network(folders[0])
    shown, dev = pictures(root, seed), fer2013_votes(root, "dev")
    progress = begin(net, out / "face.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(shown.images) / BATCH)
    facts: dict[str, Any] = {**facts_of(seed), "folded": len(nets)}
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), gentle, total = numbers_of(seed, epoch), epoch >= epochs - LAST, 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(shown.images), generator=random), BATCH)):
            seen, target = shown.batch(index, random, 0.4 if gentle else STRENGTH)
            soft, taught = teachings(nets, teacher, seen)
            heads = taught * (index < shown.photographs)[:, None]
            heads[: len(index) // UNREADABLE] = 0
            if not gentle:
                share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
                pairs = seen, target, soft, heads
                seen, target, soft, heads = (share * x + (1 - share) * x[order] for x in pairs)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(seen.contiguous(memory_format=torch.channels_last)).float()
            loss = loss_of(logits, target, shown.weight[index], soft, heads)
            total += progress.step(loss, (epoch + step / steps) / epochs)
        if epoch + 1 == epochs:
            face_readable.fit(progress.kept, shown.images, seed)
        facts |= measured(progress.kept, dev)
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
        progress.save(facts, epoch + 1)
    return facts
