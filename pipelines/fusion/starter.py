"""The set ``starter``: windows of the tokens that the shipped encoders make, from which the shipped fusion is trained.

Audio and video of RAVDESS clips are joint, FER2013 faces and texts are beside them; a text joins a clip by its label.
Its rows, one per clip with a text of its label, are what a training validates on and the results table scores; its
train windows are drawn anew for each batch (``pipelines.fusion.windows``). The audio encoder was trained on the train
actors, those that the table holds out for choosing included.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.inputs import Window
from pipelines.data import feature_sets
from pipelines.data.corpora import UNKNOWN, Faces, fer2013, ravdess, sentences, sha256_of
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import layout_of
from pipelines.data.scaling import Scale
from pipelines.encoders.shipped import MODELS, RUNS
from pipelines.fusion import tracks, voices
from pipelines.fusion.experiment import Experiment, StarterSettings
from pipelines.fusion.samples import Index
from pipelines.fusion.scores import Predicted, ScoredWindow, cases, figures
from pipelines.fusion.sentiment_calibration import calibrate
from pipelines.fusion.sources import Batch, Epoch
from pipelines.fusion.token_encoders import TokenEncoders
from pipelines.fusion.tracks import Floats
from pipelines.fusion.windows import Example, Sampler, TrainExamples, collate

# Clips of the train actors are paired with one of every so many train texts.
PAIRED = 6


@dataclass(frozen=True, slots=True, eq=False)
class StarterRows(Rows):
    """``clips[i]`` is the recording of row i; ``dev_texts`` are all of the dev split; ``encoders`` is the hash of each.

    ``load`` makes the train examples on its first call for these settings, which takes minutes; ``calibration`` every
    so many train texts as people write them.
    """

    clips: Sequence[Example]
    dev_texts: Sequence[Example]
    load: Callable[[StarterSettings], TrainExamples]
    calibration: Callable[[int], Sequence[Example]]
    encoders: Mapping[Modality, str]


def read(root: Path, models: Path = MODELS, runs: Path = RUNS) -> StarterRows:
    """The corpora of ``root`` through the encoders of ``models``. Raises DataError or ModelError for an absent file.

    Of an encoder with ``RUNS/voice_unseen.npz`` the train examples have the tokens of that file.
    """
    encoders, identity = TokenEncoders(models), sha256_of(root)
    clips = {split: encoders.joint(ravdess(root, split)) for split in ("train", "dev")}
    texts = {
        "train": encoders.texts(sentences(root, "train")[::PAIRED]),
        "dev": encoders.texts(sentences(root, "dev")),
    }
    windows = [row for split in clips for row in cases("atv", clips[split], texts[split])[1]]

    @functools.cache
    def load(settings: StarterSettings) -> TrainExamples:
        faces, read_texts = fer2013(root, "train"), sentences(root, "train")
        some = Faces(faces.images[:: settings.face_stride], faces.labels[:: settings.face_stride])
        acted, unseen = ravdess(root, "train"), encoders.unseen(root, runs)
        if unseen is None:
            joint = tracks.augmented_joint(clips["train"], acted, encoders.audio, settings.clip_copies)
        else:
            joint = voices.joint(unseen, acted)
        return TrainExamples(
            joint,
            tracks.face_clips(some, encoders.face, settings.face_frames),
            encoders.augmented_texts(read_texts[:: settings.text_stride]),
            voices.alone(unseen) if unseen is not None else (),
        )

    placed = collate([row.placed for row in windows], MCULoRAConfig(tokens=encoders.capacity))
    tokens, mask, age = (
        {m: getattr(window, name).numpy() for m, window in placed.items()} for name in ("tokens", "mask", "age")
    )
    emotion, score, ordinal = (
        np.array([getattr(row.truth, name) for row in windows]) for name in ("emotion", "score", "ordinal")
    )
    every = [clip for split in clips for clip in clips[split]]
    stamp = hashlib.sha256(f"{identity} {sorted(encoders.hashes.items())}".encode())
    return StarterRows(
        layout=layout_of("starter"),
        vectors={m: _means(tokens[m], mask[m]) for m in tokens},
        tokens=tokens,
        mask=mask,
        age=age,
        emotion=emotion,
        score=score.astype(np.float32),
        ordinal=ordinal,
        group=np.array([clip.group.removeprefix("actor ") for clip in every]),
        position=np.arange(len(every)),
        split=np.array([split for split in clips for _ in clips[split]]),
        fold=np.full(len(every), UNKNOWN),
        sha256=stamp.hexdigest(),
        clips=every,
        dev_texts=texts["dev"],
        load=load,
        calibration=lambda stride: encoders.texts(sentences(root, "train")[::stride]),
        encoders=encoders.hashes,
    )


def open_rows(
    name: str, source: Path, models: Path = MODELS, only: Collection[Modality] | None = None, runs: Path = RUNS
) -> Rows:
    """The set ``name``, whatever it is made from; ``only``: the modalities that a file must hold."""
    return read(source, models, runs) if layout_of(name).drawn else feature_sets.read(name, source, only)


class StarterSource:
    """Draws labels evenly and combinations by their shares; noise on the tokens, since encoders are too sure of the
    voices that they were trained on."""

    def __init__(
        self, experiment: Experiment, rows: StarterRows, train: Index, dev: Index, scales: Mapping[Modality, Scale]
    ) -> None:
        self._experiment, self._rows, self._scales, self._dev = experiment, rows, scales, dev
        self._actors = {rows.clips[i].group for i in train}
        self._config = experiment.model_config(rows)
        self.steps = experiment.starter.steps

    def batches(self, epoch: Epoch) -> Iterator[Batch]:
        sampler, spread = self._sampler
        for _ in range(self.steps):
            size = max(1, self._experiment.batch // epoch.processes)
            yield self._noisy(sampler.batch(size, epoch.shares, epoch.random), spread).to(epoch.device)

    def finish(self, model: MCULoRA) -> Mapping[str, Any]:
        """Calibrate the sentiment on train texts in their own proportions, then measure on the validation rows."""
        if stride := self._experiment.starter.calibration_stride:
            calibrate(model, self._rows.calibration(stride))
        metrics = evaluate(model, [self._rows.clips[i] for i in self._dev], self._rows.dev_texts)
        return {"metrics": metrics, "encoders": dict(self._rows.encoders)}

    @functools.cached_property
    def examples(self) -> TrainExamples:
        """Those that it draws from: of RAVDESS the train actors alone."""
        found = self._rows.load(self._experiment.starter)
        return replace(found, joint=[e for e in found.joint if e.group in self._actors])

    @functools.cached_property
    def _sampler(self) -> tuple[Sampler, Mapping[Modality, Tensor]]:
        e, found = self._experiment, self.examples
        sampler = Sampler(found, self._config, e.token_dropout, e.starter.paired, e.starter.plain)
        return sampler, _spread(found.joint, found.faces, found.texts, *found.voices)

    def _noisy(self, batch: Batch, spread: Mapping[Modality, Tensor]) -> Batch:
        windows = {}
        for m, w in batch.windows.items():
            tokens, deviation = w.tokens, spread[m]
            if m in self._scales:
                tokens, deviation = torch.from_numpy(self._scales[m](tokens.numpy())), torch.ones_like(deviation)
            noise = self._experiment.noise * deviation * torch.randn_like(tokens)
            windows[m] = Window(tokens + noise, w.mask, w.age)
        return replace(batch, windows=windows)


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


def _means(tokens: Floats, mask: Floats) -> Floats:
    """Mean valid token [n, d] of ``tokens`` [n, T, d]; 0 without one."""
    total: Floats = (tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1, keepdims=True), 1)
    return total


def _spread(*sources: Sequence[Example]) -> dict[Modality, Tensor]:
    """Standard deviation of each feature of a modality's tokens, over a thousand examples of each source."""
    out: dict[Modality, Tensor] = {}
    for m in MODALITIES:
        some = [e.tracks[m].values for source in sources for e in source[:1000] if m in e.tracks]
        out[m] = torch.from_numpy(np.concatenate(some).std(0))
    return out
