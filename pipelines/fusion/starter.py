"""Trains the shipped MCULoRA on windows: its base on all combinations alike, then adapters under DPFT; FAGM in both.

At the end its sentiment is settled (``pipelines.fusion.sentiment_calibration``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from edge_mer.model import MCULoRA, MCULoRAConfig, Readout
from edge_mer.model.config import PoolKind
from edge_mer.model.inputs import Window, erasable, erased
from edge_mer.model.losses import balance, emotion_loss, orthogonality, sentiment_loss
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import LICENCES, Faces, fer2013, ravdess, sentences
from pipelines.encoders import checkpoint
from pipelines.encoders.average import running_average
from pipelines.encoders.train_log import Log
from pipelines.exporting.export import FILES, MODELS, sha16
from pipelines.fusion import tracks
from pipelines.fusion.dpft import Dpft, Separability
from pipelines.fusion.fagm import Fagm
from pipelines.fusion.scores import Predicted, ScoredWindow, cases, figures
from pipelines.fusion.sentiment_calibration import settle
from pipelines.fusion.windows import Batch, Example, Sampler, collate

EPOCHS, STEPS, BATCH = 6, 150, 128
# The share of the epochs that train the base; the others train adapters over it.
BASE_SHARE, BASE_RATE, ADAPTER_RATE = 0.7, 1e-3, 1e-3
# The share that the running average of the weights keeps at each step, and noise in deviations of a token's features.
AVERAGE, NOISE = 0.98, 0.3
ORTHO, BALANCE = 0.1, 0.01
# Voice and face weigh alike, and one may have ten times the tokens of the other.
POOL: Final[PoolKind] = "each"
# At the end the sentiment is settled on every so many of the train texts.
SETTLED = 6


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


def predict(model: MCULoRA, c: Combination, rows: Sequence[ScoredWindow]) -> Predicted:
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


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0, models: Path = MODELS) -> dict[str, Any]:
    """Train over the exported encoders of ``models``; returns the facts of the cards."""
    log, backend = Log(out / "fusion.log"), OnnxRuntime()
    torch.manual_seed(seed)
    ear = load_encoder("audio", backend, models)
    reader = load_encoder("text", backend, models)
    train_clips = ravdess(root, "train")
    clean = tracks.joint(ear, train_clips)
    joint = tracks.augmented_joint(clean, train_clips, out, copies=4)
    dev_clips = tracks.joint(ear, ravdess(root, "dev"))
    dev_texts = tracks.texts(reader, sentences(root, "dev"))
    stills = fer2013(root, "train")
    faces = tracks.face_clips(Faces(stills.images[::3], stills.labels[::3]), out)
    texts = tracks.augmented_texts(sentences(root, "train"), out)
    log(f"fusion: {len(joint)} clips, {len(faces)} faces, {len(texts)} texts")
    model = MCULoRA(MCULoRAConfig(pool=POOL))
    sampler, random = Sampler(joint, faces, texts, model.config), np.random.default_rng(seed)
    sources = ["ravdess", "fer2013", "goemotions", "meld", "mosi"]
    facts: dict[str, Any] = {
        "data": sources,
        "licence": "; ".join(LICENCES[s] for s in sources),
        "seed": seed,
        "config": {"pool": POOL},
        "encoders": {m: sha16(models / name) for m, name in FILES.items()},
    }
    base_epochs = max(1, round(epochs * BASE_SHARE))
    dpft, spread = Dpft(), _spread(joint, faces, texts)
    for stage, (first, last, rate) in enumerate(
        [(0, base_epochs, BASE_RATE), (base_epochs, max(epochs, base_epochs + 1), ADAPTER_RATE)]
    ):
        trained = freeze(model, stage)
        optimizer = torch.optim.AdamW(trained, rate, weight_decay=1e-2 if stage == 0 else 0.0)
        fagm, mean = Fagm(model), running_average(model, AVERAGE)
        for epoch in range(first, last):
            model.train()
            total = 0.0
            for step in range(STEPS):
                progress = (epoch - first + step / STEPS) / (last - first)
                for group in optimizer.param_groups:
                    group["lr"] = rate * min(1.0, progress * 20) * (0.5 + 0.5 * math.cos(math.pi * progress))
                batch = _noisy(sampler.batch(BATCH, dpft.shares, random), spread)
                total += _step(model, batch, optimizer, fagm, trained) / STEPS
                mean.update_parameters(model)
            kept = mean.module
            assert isinstance(kept, MCULoRA)
            facts["metrics"] = evaluate(kept, dev_clips, dev_texts)
            if stage == 1:
                dpft.update(_sigma(kept, dev_clips, dev_texts))
            facts["shares"] = dict(zip(COMBINATIONS, dpft.shares.round(4).tolist(), strict=True))
            log(f"fusion stage {stage} epoch {epoch + 1} loss {total:.3f} {_line(facts['metrics'])}")
            checkpoint.save(out / "fusion.pt", checkpoint.TrainingCheckpoint(kept.state_dict(), facts, epoch + 1))
        model.load_state_dict(mean.module.state_dict())
    return settled(root, out, models)


def settled(root: Path, out: Path, models: Path = MODELS) -> dict[str, Any]:
    """The last step of training, over ``out/fusion.pt``: its sentiment is settled on train texts in their own
    proportions."""
    log, backend, saved = Log(out / "fusion.log"), OnnxRuntime(), checkpoint.load(out / "fusion.pt")
    ear, reader = load_encoder("audio", backend, models), load_encoder("text", backend, models)
    model = MCULoRA(MCULoRAConfig(**saved.facts.get("config", {})))
    model.load_state_dict(dict(saved.weights))
    found = settle(model, tracks.texts(reader, sentences(root, "train")[::SETTLED]))
    dev_texts = tracks.texts(reader, sentences(root, "dev"))
    facts = {**saved.facts, "metrics": evaluate(model, tracks.joint(ear, ravdess(root, "dev")), dev_texts)}
    log(f"fusion settled: scale {found.scale:.3f} offset {found.offset.tolist()} {facts['metrics']['t']}")
    checkpoint.save(out / "fusion.pt", checkpoint.TrainingCheckpoint(model.state_dict(), facts, saved.epoch))
    return facts


def _step(
    model: MCULoRA, batch: Batch, optimizer: torch.optim.Optimizer, fagm: Fagm, trained: Sequence[nn.Parameter]
) -> float:
    out = model(batch.windows, batch.combination)
    loss = loss_of(out, batch) + ORTHO * orthogonality(out.trace) + BALANCE * balance(out.trace)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(trained, 1.0)

    def without(gone: frozenset[Modality]) -> Tensor:
        return loss_of(model(erased(batch.windows, batch.combination, gone), batch.combination), batch)

    fagm.step(optimizer, without, erasable(batch.combination))
    return loss.item()


def loss_of(out: Readout, batch: Batch) -> Tensor:
    """Emotion and sentiment loss of one batch, each over the samples that carry its label."""
    return emotion_loss(out.logits, batch.emotion) + sentiment_loss(out.polarity, batch.score, batch.ordinal)


def _sigma(model: MCULoRA, clips: Sequence[Example], texts: Sequence[Example]) -> dict[Combination, float]:
    """Separability of every combination on the dev windows, for DPFT."""
    found = Separability()
    model.eval()
    with torch.no_grad():
        for c in COMBINATIONS:
            some = [row.placed for row in cases(c, clips, texts)[1][:256]]
            index = torch.full((len(some),), COMBINATIONS.index(c))
            found.add(model(collate(some, model.config), index), index)
    return {c: max(0.0, s) for c, s in found.sigma().items()}


def _spread(*sources: Sequence[Example]) -> dict[Modality, Tensor]:
    """Standard deviation of each feature of a modality's tokens, over a thousand examples of each source."""
    out: dict[Modality, Tensor] = {}
    for m in MODALITIES:
        some = [e.tracks[m].values for source in sources for e in source[:1000] if m in e.tracks]
        out[m] = torch.from_numpy(np.concatenate(some).std(0))
    return out


def _noisy(batch: Batch, spread: Mapping[Modality, Tensor]) -> Batch:
    """Encoders know the voices that they were trained on too well: noise keeps fusion from trusting them blindly."""
    windows = {
        m: Window(w.tokens + NOISE * spread[m] * torch.randn_like(w.tokens), w.mask, w.age)
        for m, w in batch.windows.items()
    }
    return dataclasses.replace(batch, windows=windows)


def _line(figures: Mapping[Combination, Mapping[str, Mapping[str, float]]]) -> str:
    return " ".join(f"{c} {next(iter(f.values()))['uar']:.3f}" for c, f in figures.items())
