"""Trains the expression network on FER2013, with mini-XCEPTION (MIT) as a teacher.

Loss: cross-entropy with smoothing plus distillation (Hinton et al. 2015) at temperature 3.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer import metrics
from edge_mer.domain import EMOTIONS
from pipelines import checkpoint
from pipelines.data import LICENCES, Faces, fer2013
from pipelines.nets import CLASSES, FaceNet
from pipelines.report import Log, temperature_of

TEACHER_ORDER: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EPOCHS, BATCH, RATE, SOFT = 36, 64, 3e-3, 3.0


def teacher_logits(root: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits [n, 7] in our order for ``images`` uint8 [n, 48, 48]; NaN where the teacher is not at hand."""
    path = root / "models" / "mini_xception_fer2013.onnx"
    if not path.is_file():
        return np.full((len(images), CLASSES), np.nan, np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name, columns = session.get_inputs()[0].name, [TEACHER_ORDER.index(e) for e in EMOTIONS]
    parts = []
    for batch in np.array_split(images, max(1, len(images) // 64)):
        x = functional.interpolate(torch.from_numpy(batch)[:, None].float(), (64, 64), mode="bilinear")
        parts.append(session.run(["logits"], {name: ((x / 255 - 0.5) * 2).numpy()})[0][:, columns])
    return np.concatenate(parts).astype(np.float32)


def augment(faces: Tensor, random: torch.Generator) -> Tensor:
    """Flip, rotate, scale, shift, contrast and an erased patch; faces [B, 1, 48, 48] in [0, 1]."""
    n = len(faces)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=random) * (high - low) + low

    angle, scale = uniform(-0.25, 0.25), uniform(0.82, 1.15)
    flip = (uniform(0, 1) < 0.5).float() * -2 + 1
    rows = [torch.cos(angle) * scale * flip, -torch.sin(angle) * scale, uniform(-0.15, 0.15)]
    below = [torch.sin(angle) * scale * flip, torch.cos(angle) * scale, uniform(-0.15, 0.15)]
    affine = torch.stack([torch.stack(rows, 1), torch.stack(below, 1)], 1)
    grid = functional.affine_grid(affine, list(faces.shape), align_corners=False)
    out = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    out = (out - 0.5) * uniform(0.6, 1.3, 1, 1, 1) + 0.5 + uniform(-0.15, 0.15, 1, 1, 1)
    out = out + torch.randn(out.shape, generator=random) * uniform(0, 0.04, 1, 1, 1)
    where = torch.arange(48)
    y, x, size = uniform(-12, 48, 1), uniform(-12, 48, 1), 14
    patch = ((where >= y) & (where < y + size))[:, None, :, None] & ((where >= x) & (where < x + size))[:, None, None]
    return torch.where(patch, out.mean((1, 2, 3), keepdim=True), out).clamp(0, 1)


def jitter(faces: Tensor, random: torch.Generator) -> Tensor:
    """What changes from frame to frame of one face: where the box lies, and the light; as ``augment``."""
    n = len(faces)
    noise = torch.randn(n, 6, generator=random)
    affine = torch.zeros(n, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 + 0.03 * noise[:, 0]
    affine[:, :, 2] = 0.03 * noise[:, 1:3]
    grid = functional.affine_grid(affine, list(faces.shape), align_corners=False)
    out = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    return (out * (1 + 0.05 * noise[:, 3])[:, None, None, None]).clamp(0, 1)


def logits_of(net: FaceNet, images: NDArray[np.uint8]) -> Tensor:
    """Logits [n, 7] in evaluation mode."""
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part[:, None].float() / 255) for part in torch.split(torch.from_numpy(images), 256)])


def evaluate(net: FaceNet, faces: Faces) -> dict[str, float]:
    """Figures on ``faces``."""
    table = metrics.confusion(faces.labels, logits_of(net, faces.images).argmax(1).numpy(), CLASSES)
    return {"accuracy": metrics.accuracy(table), "uar": metrics.uar(table), "macro_f1": metrics.macro_f1(table)}


def train(root: Path, out: Path, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train, resuming from ``out/face.pt`` where it is unfinished; returns the facts of the card."""
    log, path = Log(out / "face.log"), out / "face.pt"
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    faces, dev = fer2013(root, "train"), fer2013(root, "dev")
    images = torch.from_numpy(faces.images)[:, None].float() / 255
    labels, soft = torch.from_numpy(faces.labels), torch.from_numpy(teacher_logits(root, faces.images))
    taught = bool(torch.isfinite(soft).all())
    # Square-root balance: disgust is 1/5 of the others.
    weight = torch.bincount(labels, minlength=CLASSES).float().rsqrt()
    weight = weight / weight.mean()
    net = FaceNet()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    start = 0
    if path.is_file() and (saved := checkpoint.load(path)).optimizer and saved.epoch < epochs:
        net.load_state_dict(dict(saved.weights))
        optimizer.load_state_dict(saved.optimizer)
        start = saved.epoch
    steps = math.ceil(len(labels) / BATCH)
    facts: dict[str, Any] = {"data": ["fer2013"], "licence": LICENCES["fer2013"], "taught": taught}
    for epoch in range(start, epochs):
        net.train()
        total = 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(labels), generator=random), BATCH)):
            progress = (epoch + step / steps) / epochs
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, progress * 20) * (0.5 + 0.5 * math.cos(math.pi * progress))
            logits = net(augment(images[index], random))
            loss = functional.cross_entropy(logits, labels[index], weight, label_smoothing=0.05)
            if taught:
                target = functional.softmax(soft[index] / SOFT, -1)
                loss = loss + SOFT**2 * functional.kl_div(
                    functional.log_softmax(logits / SOFT, -1), target, reduction="batchmean"
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item()
        facts["metrics"] = {"fer2013 public_test": evaluate(net, dev)}
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
        checkpoint.save(path, checkpoint.Checkpoint(net.state_dict(), facts, epoch + 1, optimizer.state_dict()))
    facts["temperature"] = temperature_of(logits_of(net, dev.images), torch.from_numpy(dev.labels))
    checkpoint.save(path, checkpoint.Checkpoint(net.state_dict(), facts, epochs))
    return facts
