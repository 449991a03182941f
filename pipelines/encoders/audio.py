"""Trains the audio encoder on RAVDESS speech of the train actors: the eight acted emotions, from clips of tokens.

Each clip is used as recorded and in six other rooms and speeds (``encoders.audio_augment``), drawn once and kept in
``runs/cache``. Of each, the functionals of a few windows are computed once: what is learned is small and trains in a
minute. Clips are mixed (Zhang et al. 2018); what is kept is the moving average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.domain import EMOTIONS
from edge_mer.perception import audio, pitch
from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.cache import Arrays, cached
from pipelines.data.corpora import ACTED, LABEL, LICENCES, Speech, ravdess
from pipelines.encoders import audio_augment as sound
from pipelines.encoders import audio_frames
from pipelines.encoders.audio_frames import TokenClip, clip_of, parts
from pipelines.encoders.nets import CLASSES, AudioNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.train_log import Log

EPOCHS, BATCH, RATE, MIXED, AVERAGE = 60, 64, 2e-3, 0.4, 0.99
# Of the clips, this share is as it was recorded; each of its functionals with this noise, in deviations.
CLEAN, NOISY = 0.4, 0.3
# Windows of a clip: the one that ends with the voice, and others that end after this share of it.
WINDOWS, EARLIEST = 5, 0.35
ROOMS: Final = 6
# Which of our seven each acted emotion is.
OURS: Final = torch.tensor([EMOTIONS.index(LABEL[a]) for a in ACTED])


def rooms(speeches: Sequence[Speech], count: int, seed: int) -> list[list[TokenClip]]:
    """Each speech as it is and in ``count`` other rooms, halves in precision; kept in ``runs/cache``."""

    def make() -> Arrays:
        random, samples = np.random.default_rng(seed), [speech.samples() for speech in speeches]
        clips = [
            [
                clip_of(s, speech.acted),
                *(clip_of(sound.elsewhere(s, samples, random), speech.acted) for _ in range(count)),
            ]
            for speech, s in zip(speeches, samples, strict=True)
        ]
        every = [c for row in clips for c in row]
        return {
            "frames": np.concatenate([c.frames for c in every]).astype(np.float16),
            "voiced": np.concatenate([c.voiced for c in every]),
            "tokens": np.array([len(c.voiced) for c in every]),
        }

    kept = cached("rooms", make, [s.path for s in speeches], (audio, pitch, sound, audio_frames), count, seed)
    frames, voiced, tokens = kept["frames"], kept["voiced"], kept["tokens"]
    bounds = np.cumsum([0, *(tokens * FRAMES_PER_TOKEN + CONTEXT_FRAMES - FRAMES_PER_TOKEN)])
    ends = np.cumsum([0, *tokens])
    out = [
        TokenClip(frames[bounds[i] : bounds[i + 1]], voiced[ends[i] : ends[i + 1]], speeches[i // (count + 1)].acted)
        for i in range(len(tokens))
    ]
    return [out[i : i + count + 1] for i in range(0, len(out), count + 1)]


def windows_of(clip: TokenClip, numbers: np.random.Generator) -> NDArray[np.int64]:
    """The tokens of ``clip`` to learn from, at most WINDOWS: the last voiced one, and some before it."""
    voiced = np.flatnonzero(clip.voiced)
    before = voiced[int(EARLIEST * len(voiced)) : -1]
    return np.array([voiced[-1], *numbers.permutation(before)[: WINDOWS - 1]], np.int64)


def functionals(net: AudioNet, clips: Sequence[TokenClip], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Of some windows of each clip: [n, WINDOWS, size], and which of them there are, [n, WINDOWS]."""
    numbers = np.random.default_rng(seed)
    out, mask = torch.zeros(len(clips), WINDOWS, net.size), torch.zeros(len(clips), WINDOWS)
    for row, clip in enumerate(clips):
        starts = windows_of(clip, numbers) * FRAMES_PER_TOKEN
        windows = np.stack([clip.frames[s : s + CONTEXT_FRAMES] for s in starts]).astype(np.float32)
        out[row, : len(starts)], mask[row, : len(starts)] = net.measured(*parts(torch.from_numpy(windows))), 1
    return out, mask


def logits_of(net: AudioNet, clips: Sequence[TokenClip]) -> Tensor:
    """Clip logits [n, 8] in evaluation mode."""
    net.eval()
    with torch.no_grad():
        logits = [
            net.logits(net(*parts(torch.from_numpy(c.frames).float()[None])), torch.from_numpy(c.voiced)[None].float())
            for c in clips
        ]
    return torch.cat(logits)


def figures(logits: Tensor, acted: NDArray[np.int64]) -> dict[str, float]:
    """Per clip, on the eight acted emotions and on our seven."""
    seven = torch.zeros(len(logits), CLASSES).index_add(1, OURS, logits.softmax(-1))
    out: dict[str, float] = {}
    for classes, guess, truth in ((8, logits, acted), (7, seven, OURS.numpy()[acted])):
        table = metrics.confusion(truth, guess.argmax(1).numpy(), classes)
        out |= {f"accuracy{classes}": metrics.accuracy(table), f"uar{classes}": metrics.uar(table)}
    return {name: round(value, 4) for name, value in out.items()}


def loss_of(net: AudioNet, tokens: Tensor, mask: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Of clips as their tokens [B, n, 64]: cross-entropy of the clip, and for a part of each token of ``mask``."""
    each, _ = net.token_logits(tokens)
    clip = functional.cross_entropy(net.logits(tokens, mask), labels, weight, label_smoothing=0.1)
    every = functional.cross_entropy(
        each.flatten(0, 1), labels.repeat_interleave(tokens.shape[1]), reduction="none", label_smoothing=0.1
    )
    return clip + 0.3 * (every * mask.flatten()).sum() / mask.sum().clamp(min=1)


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train on actors 1-16, resuming from an unfinished ``out/audio.pt``; returns the facts of the card
    (dev = actors 17-20)."""
    log = Log(out / "audio.log")
    torch.manual_seed(seed)
    clips, dev = (
        rooms(ravdess(root, "train"), ROOMS, seed),
        [clip_of(s.samples(), s.acted) for s in ravdess(root, "dev")],
    )
    net = AudioNet()
    summaries, there = functionals(net, [c for row in clips for c in row])
    recorded = summaries[:: ROOMS + 1][there[:: ROOMS + 1] > 0]
    net.mean.copy_(recorded.mean(0))
    net.std.copy_(recorded.std(0) + 1e-3)
    summaries = net.standard(summaries)
    labels = torch.tensor([row[0].label for row in clips])
    weight = torch.bincount(labels, minlength=len(ACTED)).float().rsqrt()
    weight = weight / weight.mean()
    progress = begin(net, out / "audio.pt", epochs, RATE, AVERAGE)
    steps = math.ceil(len(clips) / BATCH)
    facts: dict[str, Any] = {"data": ["ravdess"], "licence": LICENCES["ravdess"], "classes": list(ACTED), "seed": seed}
    truth = np.array([c.label for c in dev])
    for epoch in range(progress.resume(), epochs):
        net.train()
        (random, numbers), total = numbers_of(seed, epoch), 0.0
        for step, index in enumerate(torch.split(torch.randperm(len(clips), generator=random), BATCH)):
            room = numbers.integers(1, ROOMS + 1, len(index)) * (numbers.random(len(index)) >= CLEAN)
            row = index * (ROOMS + 1) + torch.from_numpy(room)
            summary, mask, label = summaries[row], there[row], labels[index]
            summary = summary + NOISY * torch.randn(summary.shape, generator=random)
            share, order = float(numbers.beta(MIXED, MIXED)), torch.randperm(len(index), generator=random)
            summary, mask = share * summary + (1 - share) * summary[order], mask * mask[order]
            tokens = net.tokens(summary.flatten(0, 1)).view(*mask.shape, -1)
            loss = share * loss_of(net, tokens, mask, label, weight)
            loss = loss + (1 - share) * loss_of(net, tokens, mask, label[order], weight)
            total += progress.step(loss, (epoch + step / steps) / epochs)
        if (epoch + 1) % 20 == 0 or epoch + 1 == epochs:
            facts["metrics"] = {"ravdess dev, per clip": figures(logits_of(progress.kept, dev), truth)}
        log(f"audio epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts.get('metrics')}")
        progress.save(facts, epoch + 1)
    return facts
