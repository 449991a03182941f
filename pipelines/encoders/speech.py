"""Trains the voice activity of the audio encoder: a small network on shouts, whispers, children and cries in noise.

Silero VAD (MIT, ``models/silero_vad_16k_op15.onnx`` of the data folder) misses women who shout: on clean recordings of
voices a token is therefore marked where it sounds, within SOUNDING of the loudest. Crying and laughing babies are
voices too. What is none: recorded noise of homes, and hiss, hum, chords, sweeps and knocks, drawn from numbers.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.perception.audio import CONTEXT_FRAMES, FLOOR, FRAMES_PER_TOKEN, HISTORY, TOKEN_SAMPLES, log_mel
from pipelines.data.voices import voices
from pipelines.encoders import checkpoint
from pipelines.encoders.train_log import Log, warm_cosine

EPOCHS, BATCH, RATE = 4, 256, 3e-3
FRAMES: Final = 40
SECONDS: Final = 6
# Nats of power below the loudest of a clean clip that still are its voice: 30 dB. The share that is mixed with noise.
SOUNDING, BESIDE = 7.0, 0.4
# Taken off the logit after training: noise of homes is rarer in training than in homes.
MARGIN: Final = 1.5
# Every so many clips of each corpus.
EVERY: Final[Mapping[str, int]] = {
    "ravdess": 2,
    "tess": 3,
    "nemo_pl": 4,
    "emovo_it": 2,
    "turev_tr": 2,
    "urdu": 2,
    "speechocean": 2,
    "libri_multi": 2,
}
CRIES: Final = ("baby_cry", "baby_laugh")
# A sneeze is a voice and is none; music may be sung.
UNSURE: Final = ("person_sneeze", "music")
LICENCE: Final = (
    "CC BY-NC-SA 4.0, CC BY-NC-ND 4.0 and research only (non-commercial), as the voice encoder's; nonverbal ODbL"
)
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


def sounding(frames: Samples) -> Samples:
    """1 for each token of [n, 10, 64] that is loud enough beside the loudest of its clip, else 0: [n]."""
    level = frames.reshape(len(frames), -1).max(1)
    return np.asarray(level > level.max() - SOUNDING, np.float32)


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


def augment(mel: Tensor, noise: Tensor, random: torch.Generator) -> Tensor:
    """Gain, recorded noise beside the voice, and a steady floor of any tilt; both [B, 40, 64] in ln power."""
    n, _, bands = mel.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, generator=random) * (high - low) + low

    mel = mel + uniform(-5, 3)
    below = mel.amax((1, 2), keepdim=True) - noise.amax((1, 2), keepdim=True) - uniform(1, 9)
    mel = torch.where(uniform(0, 1) < BESIDE, torch.logaddexp(mel, noise + below), mel)
    tilt = torch.linspace(1, -1, bands) * uniform(-1, 3)
    floor = uniform(-25, -13) + tilt + 0.8 * torch.randn(mel.shape, generator=random)
    return torch.logaddexp(mel, floor)


def windows_of(clips: Sequence[Samples], voice: bool) -> tuple[Tensor, Tensor]:
    """Every token's last 40 frames [N, 40, 64] with silence before the first, and whether it holds a voice [N]."""
    silence = np.full((CONTEXT_FRAMES, 64), np.log(np.float32(FLOOR)), np.float32)
    windows, labels = [], []
    for samples in clips:
        each = frames_of(samples)
        frames = np.concatenate([silence, *each])
        for i, value in enumerate(sounding(each)):
            end = CONTEXT_FRAMES + (i + 1) * FRAMES_PER_TOKEN
            windows.append(frames[end - FRAMES : end])
            labels.append(value * voice)
    return torch.from_numpy(np.stack(windows)), torch.tensor(labels)


def figures(net: SpeechNet, mel: Tensor, truth: Tensor) -> dict[str, float]:
    """Share of voiced tokens found, and share of the others left alone."""
    net.eval()
    with torch.no_grad():
        found = torch.cat([net(part) for part in torch.split(mel, 1024)])[:, 0] > 0
    speech = truth > 0.5
    return {
        "voice found": round(float((found & speech).sum() / speech.sum().clamp(min=1)), 4),
        "silence and noise left alone": round(float((~found & ~speech).sum() / (~speech).sum().clamp(min=1)), 4),
    }


def material(root: Path, dev: bool) -> tuple[list[Samples], list[Samples]]:
    """Clips of voices and of none. Dev: RAVDESS actors 17-20, other speakers of readers, recordings of other origin."""
    spoken = [
        v
        for corpus, step in EVERY.items()
        for v in voices(root, (corpus,))[::step]
        if dev == (int(v.speaker.split()[1]) > 16 if corpus == "ravdess" else fifth(v.speaker))
    ]
    sounds, noises = [v.samples() for v in spoken], list[Samples]()
    with (root / "nonverbal" / "index.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if dev == fifth(row["instance"]) and row["cls"] not in UNSURE:
                clip, _ = soundfile.read(root / "nonverbal" / row["file"], dtype="float32")
                (sounds if row["cls"] in CRIES else noises).append(np.asarray(clip, np.float32))
    return sounds, noises


def fifth(name: str) -> bool:
    """Whether a speaker or an origin is kept for dev: about one of three, by its name alone."""
    return zlib.crc32(name.encode()) % 3 == 0


def cautious(net: SpeechNet) -> None:
    """Ask for MARGIN more of a voice: a shout is far above it, and most noise below."""
    with torch.no_grad():
        cast(nn.Linear, net.layers[-1]).bias.sub_(MARGIN)


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train on the voices and noises that are not kept for dev; returns the facts of the card."""
    log, random, numbers = Log(out / "speech.log"), torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    torch.manual_seed(seed)

    def data(dev: bool, drawn: int) -> tuple[Tensor, Tensor, Tensor]:
        sounds, noises = material(root, dev)
        (mel, truth), (beside, none) = windows_of(sounds, True), windows_of(noises, False)
        drawn_mel, drawn_none = windows_of(list(no_voices(drawn, numbers)), False)
        return torch.cat([mel, beside, drawn_mel]), torch.cat([truth, none, drawn_none]), beside

    mel, truth, beside = data(False, 200)
    dev_mel, dev_truth, _ = data(True, 60)
    net = SpeechNet()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    # Recorded noise is rare beside voices, and hard.
    weight = torch.where(truth > 0, 1.0, 1.5)
    steps = math.ceil(len(mel) / BATCH)
    for epoch in range(epochs):
        net.train()
        for step, index in enumerate(torch.split(torch.randperm(len(mel), generator=random), BATCH)):
            for group in optimizer.param_groups:
                group["lr"] = RATE * warm_cosine((epoch + step / steps) / epochs, warm=0)
            noise = beside[torch.randint(len(beside), (len(index),), generator=random)]
            loss = functional.binary_cross_entropy_with_logits(
                net(augment(mel[index], noise, random))[:, 0], truth[index], weight[index]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        log(f"speech epoch {epoch + 1}/{epochs} loss {loss.item():.3f} {figures(net, dev_mel, dev_truth)}")
    cautious(net)
    facts = {
        "data": [*EVERY, "nonverbal"],
        "licence": LICENCE,
        "metrics": {"dev, per token": figures(net, dev_mel, dev_truth)},
    }
    log(f"speech, with the margin: {facts['metrics']}")
    checkpoint.save(out / "speech.pt", checkpoint.TrainingCheckpoint(net.state_dict(), facts, epochs))
    return facts
