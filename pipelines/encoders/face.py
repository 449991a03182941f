"""Trains the expression network on FER2013, with mini-XCEPTION (MIT) as a teacher.

Loss: cross-entropy with smoothing plus distillation (Hinton et al. 2015) at temperature 3, and the direction of the
teacher's last layer (Romero et al. 2015); the teacher sees the same changed picture as the student (Beyer et al. 2022),
and both see mixtures (Zhang et al. 2018). Most epochs are on small pictures, at half the cost; the last are
on whole ones (Touvron et al. 2019). What is kept is the moving average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.domain import EMOTIONS, Emotion
from edge_mer.perception.crop import crop_face
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import LICENCES, DataError, Faces, fer2013
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.encoders.nets import CLASSES, FaceNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log, temperature_of

TEACHER_ORDER: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EPOCHS, BATCH, RATE, SOFT, MIXED, AVERAGE = 46, 64, 2e-3, 3.0, 0.2, 0.998
HINTED: Final = 2.0
# From this share of the epochs on pictures are changed little and not mixed: the end is on faces as they will come.
GENTLE: Final = 0.8
# Before this share of the epochs pictures are SIDE pixels wide; after it they are as the device sees them.
SMALL, SIDE = 0.65, 32
# Figures on dev cost half an epoch: every so many epochs, and at the end.
WATCH: Final = 5
# Pictures of each label among all 28,709 Training ones, of which ours are a balanced part: the prior of what is scored.
PRIOR: Final[Mapping[Emotion, int]] = {
    "neutral": 4965,
    "happy": 7215,
    "sad": 4830,
    "angry": 3995,
    "fear": 4097,
    "disgust": 436,
    "surprise": 3171,
}


# Drawn faces of each expression that there is a drawing of; an avatar or a toy is no failure of the detector.
DRAWN: Final = 100


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

    def __call__(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 7] in our order and the last layer [B, 128] for faces [B, 1, 48, 48] in [0, 1]."""
        x = functional.interpolate(faces, (64, 64), mode="bilinear")
        inputs = {self._session.get_inputs()[0].name: ((x - 0.5) * 2).numpy()}
        logits, last = self._session.run(["logits", "embedding"], inputs)
        return torch.from_numpy(logits[:, self._columns]), torch.from_numpy(last)


def augment(faces: Tensor, random: torch.Generator, strength: float = 1.0) -> Tensor:
    """Flip, rotate, scale, shift, light and noise; every fourth is of a small or blurred face; [B, 1, 48, 48]."""
    n, s = len(faces), strength

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=random) * (high - low) + low

    angle, scale = uniform(-0.25 * s, 0.25 * s), uniform(1 - 0.18 * s, 1 + 0.15 * s)
    flip = (uniform(0, 1) < 0.5).float() * -2 + 1
    rows = [torch.cos(angle) * scale * flip, -torch.sin(angle) * scale, uniform(-0.15 * s, 0.15 * s)]
    below = [torch.sin(angle) * scale * flip, torch.cos(angle) * scale, uniform(-0.15 * s, 0.15 * s)]
    affine = torch.stack([torch.stack(rows, 1), torch.stack(below, 1)], 1)
    grid = functional.affine_grid(affine, list(faces.shape), align_corners=False)
    out = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    pixels = int(torch.randint(24, 48, (), generator=random))
    coarse = functional.interpolate(out[::4], (pixels, pixels), mode="area")
    out[::4] = functional.interpolate(coarse, (48, 48), mode="bilinear")
    side_light = torch.linspace(-1, 1, 48) * uniform(-0.3 * s, 0.3 * s, 1, 1, 1)
    contrast, level = uniform(1 - 0.4 * s, 1 + 0.3 * s, 1, 1, 1), uniform(-0.15 * s, 0.15 * s, 1, 1, 1)
    out = (out - 0.5) * contrast * (1 + side_light) + 0.5 + level
    out = out + torch.randn(out.shape, generator=random) * uniform(0, 0.04 * s, 1, 1, 1)
    return out.clamp(0, 1)


def occlude(faces: Tensor, random: torch.Generator) -> Tensor:
    """Half of the faces lose a square of 16 pixels to their own mean (DeVries and Taylor 2017)."""
    y, x = (torch.rand(2, len(faces), 1, generator=random) * 64 - 16).unbind(0)
    where, half = torch.arange(48), torch.rand(len(faces), 1, 1, 1, generator=random) < 0.5
    patch = ((where >= y) & (where < y + 16))[:, None, :, None] & ((where >= x) & (where < x + 16))[:, None, None]
    return torch.where(patch & half, faces.mean((1, 2, 3), keepdim=True), faces)


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
    """Logits [n, 7] in evaluation mode, as the device computes them."""
    net.eval()
    with torch.no_grad():
        return torch.cat([net.both(part[:, None].float() / 255) for part in torch.split(torch.from_numpy(images), 256)])


def figures(logits: Tensor, labels: NDArray[np.int64]) -> dict[str, float]:
    """Of logits [n, 7]."""
    table = metrics.confusion(labels, logits.argmax(1).numpy(), CLASSES)
    return {"accuracy": metrics.accuracy(table), "uar": metrics.uar(table), "macro_f1": metrics.macro_f1(table)}


def drawn(count: int, random: np.random.Generator) -> Faces:
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
    return Faces(np.stack(images), np.array(labels))


def targets(labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Smoothed probabilities [B, 7]."""
    return functional.one_hot(labels, CLASSES).float() * (1 - smoothing) + smoothing / CLASSES


def loss_of(net: FaceNet, seen: Tensor, label: Tensor, soft: Tensor, last: Tensor, shift: Tensor) -> Tensor:
    """Of faces [B, 1, h, w] with ``label``, the teacher's ``soft`` probabilities [B, 7] and standard ``last`` layer
    [B, 128]; ``shift`` as in Pictures."""
    with torch.autocast("cpu", torch.bfloat16):
        vector = net.vector(seen.contiguous(memory_format=torch.channels_last)).float()
        logits = net.head(net.drop(vector)).float()
    taught = functional.kl_div(functional.log_softmax(logits / SOFT, -1), soft, reduction="batchmean")
    apart = 1 - functional.cosine_similarity(net.hint(vector), last, dim=1).mean()
    return functional.cross_entropy(logits + shift, label) + SOFT**2 * taught + HINTED * apart


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Train pictures ``images`` float32 [n, 1, 48, 48] with ``labels`` [n]: ``real`` photographs, then drawn faces.

    ``shift`` [7]: logits that fit our balanced part when it is added fit the whole set without (Menon et al. 2021).
    """

    images: Tensor
    labels: Tensor
    real: int
    shift: Tensor


def pictures(root: Path, seed: int) -> Pictures:
    """FER2013's train part and the faces drawn by ``seed``."""
    faces, toys = fer2013(root, "train"), drawn(DRAWN, np.random.default_rng(seed))
    real = len(faces.labels)
    images = torch.from_numpy(np.concatenate([faces.images, toys.images]))[:, None].float() / 255
    labels = torch.from_numpy(np.concatenate([faces.labels, toys.labels]))
    ours = torch.bincount(labels[:real], minlength=CLASSES) / torch.tensor([float(PRIOR[e]) for e in EMOTIONS])
    return Pictures(images, labels, real, (ours / ours.sum()).log())


def measured(net: FaceNet, dev: Faces) -> dict[str, Any]:
    """The card's figures on ``dev``, and the temperature that fits it best."""
    said = logits_of(net, dev.images)
    found = {"fer2013 public_test": figures(said, dev.labels)}
    return {"metrics": found, "temperature": temperature_of(said, torch.from_numpy(dev.labels))}


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from ``out/face.pt`` where it is unfinished; returns the facts of the card."""
    log = Log(out / "face.log")
    torch.manual_seed(seed)
    shown, dev, teacher = pictures(root, seed), fer2013(root, "dev"), Teacher(root)
    images, labels = shown.images, shown.labels
    sample = torch.cat([teacher(part)[1] for part in torch.split(images[: 16 * BATCH], BATCH)])
    usual, spread = sample.mean(0), sample.std(0) + 1e-2
    net = FaceNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progress = begin(net, out / "face.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(labels) / BATCH)
    facts: dict[str, Any] = {"data": ["fer2013"], "licence": LICENCES["fer2013"], "seed": seed}
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), gentle, total = numbers_of(seed, epoch), epoch >= GENTLE * epochs, 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(labels), generator=random), BATCH)):
            seen = augment(images[index], random, 0.4 if gentle else 1.0)
            label, (logits, last) = targets(labels[index]), teacher(seen)
            soft, last = functional.softmax(logits / SOFT, -1), (last - usual) / spread
            soft = torch.where((index < shown.real)[:, None], soft, label)  # drawn faces the teacher does not know
            if not gentle:
                share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
                pairs = occlude(seen, random), label, soft, last
                seen, label, soft, last = (share * x + (1 - share) * x[order] for x in pairs)
            if epoch < SMALL * epochs:
                seen = functional.interpolate(seen, (SIDE, SIDE), mode="bilinear", antialias=True)
            total += progress.step(loss_of(net, seen, label, soft, last, shown.shift), (epoch + step / steps) / epochs)
        if (epoch + 1) % WATCH == 0 or epoch + 1 == epochs:
            facts |= measured(progress.kept, dev)
        log(f"face epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts.get('metrics')}")
        progress.save(facts, epoch + 1)
    return facts
