"""Trains MCULoRA on windows: the base on all combinations alike, then the adapters over the frozen base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edge_mer.domain import COMBINATIONS, Combination
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text import SentencePiece
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines import checkpoint, tracks
from pipelines.data import LICENCES, UNKNOWN, Faces, fer2013, ravdess, sentences
from pipelines.export import FILES, MODELS, sha16
from pipelines.report import Log
from pipelines.scores import Case, Predicted, cases, figures
from pipelines.text import sentiment_loss
from pipelines.windows import Example, Sampler, collate

EPOCHS, STEPS, BATCH = 8, 150, 128
# The share of the epochs that train the base; the others train adapters over it.
BASE_SHARE, BASE_RATE, ADAPTER_RATE = 0.7, 1e-3, 1e-3
UNIFORM: Final = np.full(7, 1 / 7)


def freeze(model: MCULoRA, stage: int) -> list[nn.Parameter]:
    """Stage 0 trains everything but the adapters; stage 1 everything but the base. Returns what is trained."""
    frozen = {id(p) for p in (model.adapter_parameters() if stage == 0 else model.base_parameters())}
    for p in model.parameters():
        p.requires_grad_(id(p) not in frozen)
    return [p for p in model.parameters() if p.requires_grad]


def evaluate(
    model: MCULoRA, clips: Sequence[Example], texts: Sequence[Example]
) -> dict[Combination, dict[str, dict[str, float]]]:
    """Figures per combination, by the name of the windows that they were measured on."""
    result: dict[Combination, dict[str, dict[str, float]]] = {}
    for c in COMBINATIONS:
        name, rows = cases(c, clips, texts)
        result[c] = {name: figures(c, rows, predict(model, c, rows))}
    return result


def predict(model: MCULoRA, c: Combination, rows: Sequence[Case]) -> Predicted:
    """The model in evaluation mode on each row."""
    model.eval()
    logits, sentiment = [], []
    with torch.no_grad():
        for i in range(0, len(rows), 256):
            some = [row.placed for row in rows[i : i + 256]]
            out = model(collate(some, model.config), torch.full((len(some),), COMBINATIONS.index(c)))
            logits.append(out.logits)
            sentiment.append(out.sentiment[:, 0])
    return Predicted(torch.cat(logits).numpy(), torch.cat(sentiment).numpy())


def train(root: Path, out: Path, epochs: int = EPOCHS, models: Path = MODELS) -> dict[str, Any]:
    """Train over the exported encoders of ``models``; returns the facts of the cards."""
    log, backend = Log(out / "fusion.log"), OnnxRuntime()
    torch.manual_seed(0)
    ear = load_encoder("audio", backend, models)
    reader, tokenizer = backend.load(models / FILES["text"]), SentencePiece(models / "text.spm")
    train_clips = ravdess(root, "train")
    clean = tracks.joint(ear, train_clips)
    joint = tracks.augmented_joint(clean, train_clips, out, copies=4)
    dev_clips = tracks.joint(ear, ravdess(root, "dev"))
    dev_texts = tracks.texts(reader, tokenizer, sentences(root, "dev"))
    stills = fer2013(root, "train")
    faces = tracks.face_clips(Faces(stills.images[::3], stills.labels[::3]), out)
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
                torch.autograd.backward(loss)
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
