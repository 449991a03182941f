"""Trains MCULoRA on windows: the base on all combinations alike, then the adapters over the frozen base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edge_mer import metrics
from edge_mer.domain import COMBINATIONS, Combination, modalities_of
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text import SentencePiece
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines import checkpoint, tracks
from pipelines.data import LICENCES, NO_ORDINAL, UNKNOWN, fer2013, ravdess, sentences
from pipelines.export import FILES, MODELS, sha16
from pipelines.nets import CLASSES
from pipelines.report import Log
from pipelines.text import sentiment_loss
from pipelines.windows import Example, Placed, Sampler, collate

EPOCHS, STEPS, BATCH = 10, 150, 128
# The share of the epochs that train the base; the others train adapters over it.
BASE_SHARE, BASE_RATE, ADAPTER_RATE = 0.7, 1e-3, 1e-3
UNIFORM: Final = np.full(7, 1 / 7)


def adapters(model: MCULoRA) -> Iterable[nn.Parameter]:
    """All low-rank pairs."""
    return (p for n, p in model.named_parameters() if "shared_" in n or "specific_" in n)


def freeze(model: MCULoRA, stage: int) -> list[nn.Parameter]:
    """Stage 0 trains everything but the adapters; stage 1 everything but the base. Returns what is trained."""
    frozen = {id(p) for p in (adapters(model) if stage == 0 else model.base_parameters())}
    for p in model.parameters():
        p.requires_grad_(id(p) not in frozen)
    return [p for p in model.parameters() if p.requires_grad]


def pair(clips: Sequence[Example], texts: Sequence[Example], seed: int = 0) -> list[tuple[Example, Example]]:
    """Each clip with a text of its label."""
    random = np.random.default_rng(seed)
    by_label = [[t for t in texts if t.emotion == label] for label in range(CLASSES)]
    return [(c, by_label[c.emotion][random.integers(len(by_label[c.emotion]))]) for c in clips]


def evaluate(
    model: MCULoRA, clips: Sequence[Example], texts: Sequence[Example]
) -> dict[Combination, dict[str, dict[str, float]]]:
    """Figures per combination. Those with a text beside a voice or face are label-paired, and named so."""
    pairs = pair(clips, [t for t in texts if t.ordinal != NO_ORDINAL])
    rows: Mapping[str, list[tuple[Placed, Example]]] = {
        "clip": [({m: (t, _end(c)) for m, t in c.tracks.items()}, c) for c in clips],
        "text": [({"text": (t.tracks["text"], 0.0)}, t) for t in texts],
        "paired": [
            ({**{m: (k, _end(c)) for m, k in c.tracks.items()}, "text": (t.tracks["text"], 0.5)}, t)
            for c, t in pairs
        ],
    }
    figures: dict[Combination, dict[str, dict[str, float]]] = {}
    for c in COMBINATIONS:
        kind = "text" if c == "t" else "paired" if "text" in modalities_of(c) else "clip"
        name = {
            "clip": "ravdess dev, last 4 s of the clip",
            "text": "goemotions + meld + mosi dev",
            "paired": "label-paired windows (ravdess dev with a text of its label)",
        }[kind]
        figures[c] = {name: _figures(model, c, rows[kind])}
    return figures


def _figures(model: MCULoRA, c: Combination, rows: Sequence[tuple[Placed, Example]]) -> dict[str, float]:
    model.eval()
    logits, values = [], []
    with torch.no_grad():
        for i in range(0, len(rows), 256):
            some = [place for place, _ in rows[i : i + 256]]
            out = model(collate(some, model.config), torch.full((len(some),), COMBINATIONS.index(c)))
            logits.append(out.logits)
            values.append(out.sentiment[:, 0])
    guess, value = torch.cat(logits).argmax(1).numpy(), torch.cat(values).numpy()
    emotion = np.array([e.emotion for _, e in rows])
    score, ordinal = (np.array([getattr(e, f) for _, e in rows]) for f in ("score", "ordinal"))
    known = emotion != UNKNOWN
    table = metrics.confusion(emotion[known], guess[known], CLASSES)
    figures = {
        "accuracy": metrics.accuracy(table),
        "uar": metrics.uar(table),
        "macro_f1": metrics.macro_f1(table),
        "weighted_f1": metrics.weighted_f1(table),
    }
    if "text" in modalities_of(c):
        ranked = ordinal != NO_ORDINAL
        order = np.digitize(value[ranked], [-0.5, 0.5])
        figures["sentiment_weighted_f1"] = metrics.weighted_f1(metrics.confusion(ordinal[ranked] + 1, order, 3))
    scored = ~np.isnan(score)
    if scored.any():
        figures["sentiment_mae"] = metrics.mae(score[scored], value[scored])
        figures["sentiment_correlation"] = metrics.correlation(score[scored], value[scored])
    return {k: round(v, 4) for k, v in figures.items()}


def _end(clip: Example) -> float:
    return max(float(t.end_s[-1]) for t in clip.tracks.values())


def train(root: Path, out: Path, epochs: int = EPOCHS, models: Path = MODELS) -> dict[str, Any]:
    """Train over the exported encoders of ``models``; returns the facts of the cards."""
    log, backend = Log(out / "fusion.log"), OnnxRuntime()
    torch.manual_seed(0)
    ear = load_encoder("audio", backend, models)
    reader, tokenizer = backend.load(models / FILES["text"]), SentencePiece(models / "text.spm")
    train_clips = ravdess(root, "train")
    clean = tracks.joint(ear, train_clips)
    joint = clean + tracks.augmented_joint(clean, train_clips, out, copies=5)
    dev_clips = tracks.joint(ear, ravdess(root, "dev"))
    dev_texts = tracks.texts(reader, tokenizer, sentences(root, "dev"))
    faces = tracks.face_clips(fer2013(root, "train"), out)
    texts = tracks.augmented_texts(sentences(root, "train"), out)
    log(f"fusion: {len(joint)} clips, {len(faces)} faces, {len(texts)} texts")
    model = MCULoRA(MCULoRAConfig())
    sampler, random = Sampler(joint, faces, texts, model.config), np.random.default_rng(0)
    sources = ["ravdess", "fer2013", "goemotions", "meld", "mosi"]
    facts: dict[str, Any] = {
        "data": sources,
        "licence": "; ".join(LICENCES[s] for s in sources),
        "encoders": {m: sha16(models / name) for m, name in FILES.items()},
    }
    base_epochs = max(1, round(epochs * BASE_SHARE))
    for stage, (first, last, rate) in enumerate(
        [(0, base_epochs, BASE_RATE), (base_epochs, max(epochs, base_epochs + 1), ADAPTER_RATE)]
    ):
        trained = freeze(model, stage)
        optimizer = torch.optim.AdamW(trained, rate, weight_decay=1e-2 if stage == 0 else 0.0)
        for epoch in range(first, last):
            model.train()
            total = 0.0
            for step in range(STEPS):
                progress = (epoch - first + step / STEPS) / (last - first)
                for group in optimizer.param_groups:
                    group["lr"] = rate * min(1.0, progress * 20) * (0.5 + 0.5 * math.cos(math.pi * progress))
                loss = loss_of(model, sampler, random)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                total += loss.item()
            facts["metrics"] = evaluate(model, dev_clips, dev_texts)
            log(f"fusion stage {stage} epoch {epoch + 1} loss {total / STEPS:.3f} {_line(facts['metrics'])}")
            checkpoint.save(out / "fusion.pt", checkpoint.Checkpoint(model.state_dict(), facts, epoch + 1))
    return facts


def loss_of(model: MCULoRA, sampler: Sampler, random: np.random.Generator) -> torch.Tensor:
    """Emotion and sentiment loss of one batch, each over the samples that carry its label."""
    batch = sampler.batch(BATCH, UNIFORM, random)
    out = model(batch.windows, batch.combination)
    known = batch.emotion != UNKNOWN
    emotion = functional.cross_entropy(out.logits[known], batch.emotion[known], label_smoothing=0.05)
    sentiment = sentiment_loss(out.sentiment[:, 0], batch.ordinal, batch.score).mean()
    return emotion + sentiment


def _line(figures: Mapping[Combination, Mapping[str, Mapping[str, float]]]) -> str:
    return " ".join(f"{c} {next(iter(f.values()))['uar']:.3f}" for c, f in figures.items())
