"""Trains the expression network on what ten people saw in each face of FER2013 (FERPlus), and on press photographs.

Two heads on one trunk: the shares of ten votes, which the device reads, and FER2013's own label, which is scored. A
share of the pictures is darkened, or loses its lower half, and its target is mostly even: of such faces the network
shall not be sure. Most epochs are on small pictures, at half the cost; the last are on whole ones (Touvron et al.
2019). What is kept is the moving average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.domain import EMOTIONS, Emotion
from edge_mer.perception.crop import crop_face
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import LICENCES, UNKNOWN
from pipelines.data.faces import VotedFaces, fer2013_votes, smoothed, wild_faces
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.encoders import face_readable
from pipelines.encoders.face_augment import augment, occlude, unreadable
from pipelines.encoders.nets import CLASSES, FaceNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log, temperature_of

EPOCHS, BATCH, RATE, MIXED, AVERAGE = 24, 64, 2e-3, 0.2, 0.998
# From this share of the epochs on pictures are changed little and not mixed: the end is on faces as they will come.
GENTLE: Final = 0.8
# Before this share of the epochs pictures are SIDE pixels wide; after it they are as the device sees them.
SMALL, SIDE = 0.65, 32
# What FER2013's own label weighs beside the votes.
OWN: Final = 0.5
# One picture in so many is hardly readable, and this share of its target is even.
UNREADABLE, EVEN = 6, 0.7
# Figures on dev cost half an epoch: every so many epochs, and at the end.
WATCH: Final = 4
# Pictures of each label among all 28,709 Training ones, of which ours are a part: the prior of what is scored.
PRIOR: Final[Mapping[Emotion, int]] = {
    "neutral": 4965,
    "happy": 7215,
    "sad": 4830,
    "angry": 3995,
    "fear": 4097,
    "disgust": 436,
    "surprise": 3171,
}
SETS: Final = ("fer2013", "ferplus", "wild_faces")
# Drawn faces of each expression that there is a drawing of; an avatar or a toy is no failure of the detector.
DRAWN: Final = 100


def logits_of(net: FaceNet, images: NDArray[np.uint8]) -> Tensor:
    """Expression logits [n, 2, 7] in evaluation mode, as the device computes them."""
    net.eval()
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(images), 256)
        return torch.cat([net.both(part[:, None].float() / 255)[0] for part in parts])


def figures(logits: Tensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """Of logits [n, 7]."""
    table = metrics.confusion(labels, logits.argmax(1).numpy(), CLASSES)
    return {"accuracy": metrics.accuracy(table), "uar": metrics.uar(table), "macro_f1": metrics.macro_f1(table)}


def drawn(count: int, random: np.random.Generator) -> VotedFaces:
    """``count`` drawn faces of each expression of the demo's, weaker and stronger, cropped as the device does."""
    images, labels = [], []
    for name, expression in EXPRESSIONS.items():
        for _ in range(count):
            shown = EXPRESSIONS["neutral"].towards(expression, random.uniform(0.6, 1.1))
            picture = draw(shown, Pose(roll=random.uniform(-8, 8)), random)
            side = 162 * random.uniform(0.9, 1.1)  # what the cascade finds
            x, y = 163 + random.uniform(-6, 6), 128 + random.uniform(-6, 6)
            images.append(np.round(crop_face(picture, (x - side / 2, y - side / 2, side, side)) * 255).astype(np.uint8))
            labels.append(EMOTIONS.index(name))
    seen = np.array(labels)
    return VotedFaces(np.stack(images), smoothed(seen), seen)


def targets(labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Smoothed probabilities [B, 7]."""
    return functional.one_hot(labels, CLASSES).float() * (1 - smoothing) + smoothing / CLASSES


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Train pictures ``images`` float32 [n, 1, 48, 48] with ``targets`` [n, 2, 7]: votes, then own label; all zero
    where there are none. ``weight`` [n] makes of our part of FER2013 its whole. The first ``photographs`` are real, the
    others drawn."""

    images: Tensor
    targets: Tensor
    weight: Tensor
    photographs: int

    def batch(self, index: Tensor, random: torch.Generator, strength: float) -> tuple[Tensor, Tensor]:
        """Pictures [B, 1, 48, 48], changed, and their targets [B, 2, 7]; the first few are hardly readable."""
        seen, target = augment(self.images[index], random, strength), self.targets[index].clone()
        few = slice(0, len(index) // UNREADABLE)
        seen[few] = unreadable(seen[few], random)
        target[few] = target[few] * (1 - EVEN) + EVEN / CLASSES * target[few].sum(-1, keepdim=True)
        return seen, target


def pictures(root: Path, seed: int) -> Pictures:
    """FER2013's train part, press photographs, and faces drawn by ``seed``."""
    faces = fer2013_votes(root, "train")
    ours = np.bincount(faces.labels, minlength=CLASSES)
    weight = np.array([PRIOR[e] for e in EMOTIONS]) / np.maximum(ours, 1)
    real = faces + wild_faces(root)
    every = real + drawn(DRAWN, np.random.default_rng(seed))
    labels = torch.from_numpy(every.labels)
    own = torch.where((labels != UNKNOWN)[:, None], targets(labels.clamp(min=0)), torch.zeros(()))
    weights = np.concatenate([weight[faces.labels], np.ones(len(every.labels) - len(faces.labels))])
    return Pictures(
        torch.from_numpy(every.images)[:, None].float() / 255,
        torch.stack([torch.from_numpy(every.votes), own], 1),
        torch.from_numpy(weights / weights.mean()).float(),
        len(real.images),
    )


def loss_of(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of ``logits`` [B, 2, 7] to ``target`` [B, 2, 7], with OWN for the second head."""
    each = -(target * functional.log_softmax(logits, -1)).sum(-1)
    return (weight * (each[:, 0] + OWN * each[:, 1])).mean()


def measured(net: FaceNet, dev: VotedFaces) -> dict[str, Any]:
    """The card's figures on ``dev``, and the temperatures that fit the two heads best."""
    said = logits_of(net, dev.images)
    own, seen = torch.from_numpy(dev.labels), dev.majority
    clear = seen != UNKNOWN
    told = torch.from_numpy(dev.votes.sum(1) > 0)
    warm = temperature_of(said[told, 0], torch.from_numpy(dev.votes)[told])
    votes = torch.from_numpy(dev.votes)[told]
    entropy = -(votes * torch.log_softmax(said[told, 0] / warm, -1)).sum(1).mean()
    found = {
        "fer2013 public_test": figures(said[:, 1], dev.labels),
        "ferplus public_test": {
            **figures(said[clear, 0], seen[clear]),
            "vote_cross_entropy": float(entropy),
            "rows": int(clear.sum()),
        },
    }
    return {"metrics": found, "temperature": warm, "own_temperature": temperature_of(said[:, 1], own)}


def facts_of(seed: int) -> dict[str, Any]:
    """What the card says before anything is measured."""
    return {"data": list(SETS), "licence": "; ".join(LICENCES[name] for name in SETS), "seed": seed}


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from ``out/face.pt`` where it is unfinished; returns the facts of the card."""
    log = Log(out / "face.log")
    torch.manual_seed(seed)
    shown, dev = pictures(root, seed), fer2013_votes(root, "dev")
    net = FaceNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progress = begin(net, out / "face.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(shown.images) / BATCH)
    facts = facts_of(seed)
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), gentle, total = numbers_of(seed, epoch), epoch >= GENTLE * epochs, 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(shown.images), generator=random), BATCH)):
            seen, target = shown.batch(index, random, 0.4 if gentle else 1.0)
            if not gentle:
                share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
                pairs = occlude(seen, random), target
                seen, target = (share * x + (1 - share) * x[order] for x in pairs)
            if epoch < SMALL * epochs:
                seen = functional.interpolate(seen, (SIDE, SIDE), mode="bilinear", antialias=True)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(seen.contiguous(memory_format=torch.channels_last)).float()
            loss = loss_of(logits, target, shown.weight[index])
            total += progress.step(loss, (epoch + step / steps) / epochs)
        if epoch + 1 == epochs:
            face_readable.fit(progress.kept, shown.images, seed)
        if (epoch + 1) % WATCH == 0 or epoch + 1 == epochs:
            facts |= measured(progress.kept, dev)
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts.get('metrics')}")
        progress.save(facts, epoch + 1)
    return facts
