"""Trains the audio encoder on RAVDESS speech of the train actors: clip emotion from the mean of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer import metrics
from edge_mer.perception.audio import CONTEXT_FRAMES, FLOOR, FRAMES_PER_TOKEN, HISTORY, TOKEN_SAMPLES, log_mel
from pipelines import checkpoint
from pipelines.data import LICENCES, Speech, ravdess
from pipelines.nets import CLASSES, AudioNet
from pipelines.report import Log

EPOCHS, BATCH, RATE, CROP_TOKENS = 60, 32, 2e-3, 24
# What a room does to a voice, in ln power: microphone gain, and a noise floor in ln power of each band.
GAIN: Final = (-3.0, 5.0)
NOISE: Final = (-25.0, -16.0)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """``mel`` float32 [76 - 10 + 10 n, 64] gives n tokens; ``voiced`` bool [n] marks those with sound."""

    mel: NDArray[np.float32]
    voiced: NDArray[np.bool_]
    label: int


def mel_clip(speech: Speech) -> Clip:
    """The frames of one clip exactly as the encoder on the device sees them from its ``initial()`` on."""
    samples = np.concatenate([np.zeros(HISTORY, np.float32), speech.samples()])
    count = (len(samples) - HISTORY) // TOKEN_SAMPLES
    parts = [log_mel(samples[i * TOKEN_SAMPLES :][: HISTORY + TOKEN_SAMPLES]) for i in range(count)]
    level = np.array([part.max() for part in parts])
    before = np.full((CONTEXT_FRAMES - FRAMES_PER_TOKEN, parts[0].shape[1]), np.log(np.float32(FLOOR)), np.float32)
    return Clip(np.concatenate([before, *parts]), level > level.max() - 8, speech.emotion)


def tokens_of(clips: Sequence[Clip], first: NDArray[np.int64], count: int) -> tuple[Tensor, Tensor]:
    """``count`` tokens' worth of frames of each clip from token ``first`` on, and which of them are voiced."""
    frames = count * FRAMES_PER_TOKEN + CONTEXT_FRAMES - FRAMES_PER_TOKEN
    mel = np.full((len(clips), frames, clips[0].mel.shape[1]), np.log(np.float32(FLOOR)), np.float32)
    mask = np.zeros((len(clips), count), np.float32)
    for row, (clip, start) in enumerate(zip(clips, first, strict=True)):
        part = clip.mel[start * FRAMES_PER_TOKEN :][:frames]
        mel[row, : len(part)] = part
        voiced = clip.voiced[start:][:count]
        mask[row, : len(voiced)] = voiced
    return torch.from_numpy(mel), torch.from_numpy(mask)


def augment(mel: Tensor, random: torch.Generator) -> Tensor:
    """Gain, a noise floor with a tilt, masked bands (SpecAugment, Park et al. 2019) and a shift of pitch."""
    n, _, bands = mel.shape

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, 1, 1, generator=random) * (high - low) + low).float()

    shift = torch.randint(-2, 3, (n,), generator=random)
    columns = (torch.arange(bands) + shift[:, None]).clamp(0, bands - 1)
    mel = mel.gather(2, columns[:, None].expand_as(mel)) + uniform(*GAIN)
    tilt = torch.linspace(1, -1, bands) * uniform(0, 2)
    noise = uniform(*NOISE) + tilt + 0.7 * torch.randn(mel.shape, generator=random)
    mel = torch.logaddexp(mel, noise)
    start, width = uniform(-8, bands), uniform(2, 9)
    band = torch.arange(bands)
    return torch.where((band >= start) & (band < start + width), mel.mean((1, 2), keepdim=True), mel)


def logits_of(net: AudioNet, clips: Sequence[Clip]) -> Tensor:
    """Clip logits [n, 7] in evaluation mode."""
    net.eval()
    longest = max(len(c.voiced) for c in clips)
    with torch.no_grad():
        parts = []
        for i in range(0, len(clips), 64):
            some = clips[i : i + 64]
            mel, mask = tokens_of(some, np.zeros(len(some), np.int64), longest)
            parts.append(net.logits(net(mel), mask))
    return torch.cat(parts)


def evaluate(net: AudioNet, clips: Sequence[Clip]) -> dict[str, float]:
    """Figures per clip."""
    truth = np.array([c.label for c in clips])
    table = metrics.confusion(truth, logits_of(net, clips).argmax(1).numpy(), CLASSES)
    return {
        "accuracy": metrics.accuracy(table),
        "uar": metrics.uar(table),
        "weighted_f1": metrics.weighted_f1(table),
    }


def train(root: Path, out: Path, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train on actors 1-16; returns the facts of the card (dev = actors 17-20)."""
    log, path = Log(out / "audio.log"), out / "audio.pt"
    random, numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)
    torch.manual_seed(0)
    clips, dev = ([mel_clip(s) for s in ravdess(root, split)] for split in ("train", "dev"))
    every = np.concatenate([c.mel[CONTEXT_FRAMES - FRAMES_PER_TOKEN :] for c in clips])
    net = AudioNet(float(every.mean()), float(every.std()))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=2e-2)
    labels = torch.tensor([c.label for c in clips])
    weight = torch.bincount(labels, minlength=CLASSES).float().rsqrt()
    weight = weight / weight.mean()
    steps = math.ceil(len(clips) / BATCH)
    facts: dict[str, Any] = {"data": ["ravdess"], "licence": LICENCES["ravdess"]}
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(clips), generator=random), BATCH)):
            progress = (epoch + step / steps) / epochs
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, progress * 20) * (0.5 + 0.5 * math.cos(math.pi * progress))
            some = [clips[i] for i in index.tolist()]
            latest = np.array([max(0, len(c.voiced) - CROP_TOKENS) for c in some])
            mel, mask = tokens_of(some, numbers.integers(0, latest + 1), CROP_TOKENS)
            mask = mask * (torch.rand(mask.shape, generator=random) < 0.8)
            tokens = net(augment(mel, random))
            clip_loss = functional.cross_entropy(net.logits(tokens, mask), labels[index], weight, label_smoothing=0.1)
            each = functional.cross_entropy(
                net.head(tokens).flatten(0, 1), labels[index].repeat_interleave(CROP_TOKENS), reduction="none"
            )
            loss = clip_loss + 0.3 * (each * mask.flatten()).sum() / mask.sum().clamp(min=1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item()
        facts["metrics"] = {"ravdess dev, per clip": evaluate(net, dev)}
        log(f"audio epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
    checkpoint.save(path, checkpoint.Checkpoint(net.state_dict(), facts, epochs))
    return facts
