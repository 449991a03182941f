"""Trains the voice activity of the audio encoder: a small network that learns from Silero VAD on speech in noise.

The teacher (Silero VAD, MIT, ``models/silero_vad_16k_op15.onnx`` of the data folder) marks every token of clean
RAVDESS speech of the train actors; the student sees the same tokens with gain and noise, and sounds that are no voice
at all: hiss, hum, chords, sweeps and knocks, drawn from numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.perception.audio import CONTEXT_FRAMES, FLOOR, FRAMES_PER_TOKEN, HISTORY, TOKEN_SAMPLES, log_mel
from pipelines.data.corpora import DataError, Speech, ravdess
from pipelines.encoders import checkpoint
from pipelines.encoders.train_log import Log, warm_cosine

EPOCHS, BATCH, RATE = 12, 256, 3e-3
FRAMES: Final = 40
SECONDS: Final = 6
CHUNK, CONTEXT = 512, 64
Samples = NDArray[np.float32]


class SpeechNet(nn.Module):
    """Log-mel ``[B, F, 64]``, of which it reads the last 40 frames (0.5 s) -> logit of speech ``[B, 1]``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _block(1, 12), _block(12, 16), _block(16, 24), nn.Flatten(), nn.Dropout(0.1), nn.Linear(24 * 5 * 8, 1)
        )

    def forward(self, mel: Tensor) -> Tensor:
        frames = mel[:, -FRAMES:]
        # Level is not speech: each window is seen relative to its own mean, beside how loud it is.
        relative = (frames - frames.mean((1, 2), keepdim=True)) / 3
        out: Tensor = self.layers(relative[:, None])
        return out


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def frames_of(samples: Samples) -> Samples:
    """[n, 10, 64]: the frames of each whole token, as the encoder on the device computes them."""
    padded = np.concatenate([np.zeros(HISTORY, np.float32), samples])
    count = len(samples) // TOKEN_SAMPLES
    return np.stack([log_mel(padded[i * TOKEN_SAMPLES :][: HISTORY + TOKEN_SAMPLES]) for i in range(count)])


def teach(session: onnxruntime.InferenceSession, samples: Samples) -> Samples:
    """Speech probability [n] of each token: the highest of its chunks, as the teacher hears them in order."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    speech = np.zeros(len(samples) // TOKEN_SAMPLES, np.float32)
    for start in range(0, len(samples) - CHUNK + 1, CHUNK):
        chunk = samples[start : start + CHUNK]
        inputs = {"input": np.concatenate([context, chunk])[None], "state": state, "sr": np.array(16_000, np.int64)}
        probability, state = session.run(None, inputs)
        context = chunk[-CONTEXT:]
        token = min((start + CHUNK - 1) // TOKEN_SAMPLES, len(speech) - 1)
        speech[token] = max(speech[token], float(probability.item()))
    return speech


def no_voices(count: int, random: np.random.Generator) -> Iterator[Samples]:
    """Sounds of a home that are no voice: float32 [96000] each, peak 0.05 to 0.7."""
    time = np.arange(SECONDS * 16_000) / 16_000
    for i in range(count):
        kind = i % 5
        if kind == 0:  # hiss of any colour
            spectrum = np.fft.rfft(random.standard_normal(len(time)))
            sound = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** random.uniform(0, 1))
        elif kind == 1:  # hum and its harmonics
            base = random.uniform(45, 400)
            harmonics = np.arange(1, random.integers(2, 12))[:, None]
            sound = (np.sin(2 * np.pi * base * harmonics * time) / harmonics).sum(0)
        elif kind == 2:  # chords, struck again and again
            sound = np.zeros(len(time))
            for start in np.arange(0, SECONDS, random.uniform(0.15, 0.8)):
                after = np.maximum(0, time - start)
                for _ in range(3):
                    note = 110 * 2 ** (random.integers(0, 36) / 12)
                    tones = sum(np.sin(2 * np.pi * note * k * after) / k**1.5 for k in range(1, 7))
                    sound += (time >= start) * np.exp(-after * random.uniform(1, 6)) * tones
        elif kind == 3:  # sweeps
            pitch = 800 + 700 * np.sin(2 * np.pi * time * random.uniform(0.2, 3))
            sound = np.sin(np.cumsum(2 * np.pi * pitch / 16_000))
        else:  # knocks and clicks
            sound = np.zeros(len(time))
            for start in random.uniform(0, SECONDS, random.integers(4, 30)):
                after = np.maximum(0, time - start)
                sound += (time >= start) * np.exp(-after * random.uniform(15, 120)) * random.standard_normal(len(time))
        sound = sound / np.abs(sound).max() * random.uniform(0.05, 0.7)
        yield (sound + 1e-4 * random.standard_normal(len(time))).astype(np.float32)


def augment(mel: Tensor, random: torch.Generator) -> Tensor:
    """Gain, and a steady noise floor of any tilt below, near or above the voice; mel [B, 40, 64] in ln power."""
    n, _, bands = mel.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, generator=random) * (high - low) + low

    mel = mel + uniform(-5, 3)
    tilt = torch.linspace(1, -1, bands) * uniform(-1, 3)
    noise = uniform(-25, -13) + tilt + 0.8 * torch.randn(mel.shape, generator=random)
    return torch.logaddexp(mel, noise)


def windows_of(clips: Sequence[Samples], truth: Sequence[Samples]) -> tuple[Tensor, Tensor]:
    """Every token's last 40 frames [N, 40, 64] with silence before the first, and its label [N]."""
    silence = np.full((CONTEXT_FRAMES, 64), np.log(np.float32(FLOOR)), np.float32)
    windows, labels = [], []
    for samples, label in zip(clips, truth, strict=True):
        frames = np.concatenate([silence, *frames_of(samples)])
        for i, value in enumerate(label):
            end = CONTEXT_FRAMES + (i + 1) * FRAMES_PER_TOKEN
            windows.append(frames[end - FRAMES : end])
            labels.append(value)
    return torch.from_numpy(np.stack(windows)), torch.tensor(labels)


def figures(net: SpeechNet, mel: Tensor, truth: Tensor) -> dict[str, float]:
    """Agreement with the teacher: share of its speech found, share of its silence left alone, both on clean sound."""
    net.eval()
    with torch.no_grad():
        found = torch.cat([net(part) for part in torch.split(mel, 1024)])[:, 0] > 0
    speech = truth > 0.5
    return {
        "speech found": round(float((found & speech).sum() / speech.sum().clamp(min=1)), 4),
        "silence left alone": round(float((~found & ~speech).sum() / (~speech).sum().clamp(min=1)), 4),
    }


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train on actors 1-16 and drawn sounds; returns the facts of the card (dev: actors 17-20, other drawn sounds)."""
    teacher = root / "models" / "silero_vad_16k_op15.onnx"
    if not teacher.is_file():
        raise DataError(f"{teacher} is absent; take it from snakers4/silero-vad (MIT)")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(teacher), options)
    log, random, numbers = Log(out / "speech.log"), torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    torch.manual_seed(seed)

    def data(speech: Sequence[Speech], drawn: int) -> tuple[Tensor, Tensor]:
        clips = [s.samples() for s in speech]
        truth = [teach(session, c) for c in clips]
        others = list(no_voices(drawn, numbers))
        return windows_of([*clips, *others], [*truth, *(np.zeros(len(o) // TOKEN_SAMPLES, np.float32) for o in others)])

    mel, truth = data(ravdess(root, "train"), 300)
    dev_mel, dev_truth = data(ravdess(root, "dev"), 60)
    net = SpeechNet()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    steps, facts = math.ceil(len(mel) / BATCH), dict[str, Any]()
    for epoch in range(epochs):
        net.train()
        for step, index in enumerate(torch.split(torch.randperm(len(mel), generator=random), BATCH)):
            for group in optimizer.param_groups:
                group["lr"] = RATE * warm_cosine((epoch + step / steps) / epochs, warm=0)
            loss = functional.binary_cross_entropy_with_logits(net(augment(mel[index], random))[:, 0], truth[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        facts = {
            "data": ["ravdess", "silero-vad (teacher)"],
            "licence": "CC BY-NC-SA 4.0 (RAVDESS); teacher MIT",
            "metrics": {"dev, per token, against the teacher": figures(net, dev_mel, dev_truth)},
        }
        log(f"speech epoch {epoch + 1}/{epochs} loss {loss.item():.3f} {facts['metrics']}")
    checkpoint.save(out / "speech.pt", checkpoint.TrainingCheckpoint(net.state_dict(), facts, epochs))
    return facts
