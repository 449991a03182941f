"""RAVDESS clips as token sequences, 8 log-mel tokens and 5 face posteriors per second as on the device, and as a whole.

With 960 clips of 16 actors the functionals of the whole lead: each token carries those of its clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from edge_mer.contract.domain import Modality
from edge_mer.perception import audio
from edge_mer.perception.audio import HISTORY, TOKEN_SAMPLES, log_mel
from pipelines.data import functionals
from pipelines.data.cache import cached
from pipelines.data.corpora import DataError
from pipelines.data.functionals import Functionals

Floats = NDArray[np.float32]
Table = Mapping[str, NDArray[Any]]
Sequence3 = tuple[Floats, Floats, Floats]

TOKEN_S, SLOT_S, FPS = 0.125, 0.2, 29.97
# A token is active when its loudest band is within this many nats of the clip's loudest (as pipelines.encoders.audio).
ACTIVE: Final = 8.0
# The course of a face: each log posterior at so many moments, and so many coefficients of its cosine transform.
MOMENTS, COURSE = 32, 6
QUARTILES: Final = (25, 50, 75)


def of_ravdess(modality: Modality, table: Table, path: Path, stats: Floats) -> tuple[Floats, Sequence3]:
    """Of each clip a vector [n, d], the file's ``stats`` first; tokens [n, T, e + d], mask, age [n, T]."""
    of_clip, (tokens, mask, age) = voices(table, path) if modality == "audio" else (courses(table), faces(table))
    vector = np.concatenate([stats, of_clip], 1, dtype=np.float32)
    whole = np.broadcast_to(vector[:, None], (*mask.shape, vector.shape[1]))
    return vector, (np.concatenate([tokens, whole], 2, dtype=np.float32), mask, age)


def courses(table: Table) -> Floats:
    """How the face moves in each clip, [n, 112]; 0 where no face was found."""
    return np.stack(
        [_course(table["visual_seq"][a:b].astype(np.float32)) for a, b in pairwise(table["visual_offsets"])]
    )


def _course(posteriors: Floats) -> Floats:
    """Of log posteriors (products of evidence, not sums): mean, deviation, course, movement; of posteriors: quartiles,
    peaks, and how long each class leads."""
    if len(posteriors) < 2:
        return np.zeros(7 * (COURSE + len(QUARTILES) + 7), np.float32)
    logs = np.log(posteriors + np.float32(1e-3))
    times = np.linspace(0, len(logs) - 1, MOMENTS)
    even = np.stack([np.interp(times, np.arange(len(logs)), column) for column in logs.T], 1)
    waves = np.cos(math.pi / MOMENTS * np.arange(COURSE)[:, None] * (np.arange(MOMENTS) + 0.5)) / MOMENTS
    mean, peak, least = posteriors.mean(0), posteriors.max(0), posteriors.min(0)
    return np.concatenate(
        [
            logs.mean(0),
            logs.std(0),
            (waves @ even).ravel(),
            np.percentile(posteriors, QUARTILES, axis=0).ravel(),
            np.abs(np.diff(logs, axis=0)).mean(0),
            *(np.log(x + 1e-3) for x in (mean, peak, least)),
            (posteriors == posteriors.max(1, keepdims=True)).mean(0),
        ]
    ).astype(np.float32)


def faces(table: Table) -> Sequence3:
    """Mean and mean log of the posteriors of every 200 ms: [n, T, 14]."""
    offsets, frames = table["visual_offsets"], table["visual_frame"]
    rows = []
    for first, last in pairwise(offsets):
        values, time = table["visual_seq"][first:last].astype(np.float32), (frames[first:last] - 1) / FPS
        slot = ((time - time[0]) / SLOT_S).astype(np.int64) if len(time) else np.zeros(0, np.int64)
        both = np.concatenate([values, np.log(values + np.float32(1e-3)) / 7], 1)
        sums = np.zeros((slot[-1] + 1 if len(slot) else 0, both.shape[1]), np.float32)
        np.add.at(sums, slot, both)
        counts = np.bincount(slot, minlength=len(sums))[:, None]
        rows.append((np.divide(sums, np.maximum(counts, 1), dtype=np.float32), counts[:, 0] > 0))
    return _padded(rows, SLOT_S)


def voices(table: Table, path: Path) -> tuple[Floats, Sequence3]:
    """Functionals of each clip [n, 521]; mean and deviation of each log-mel band in every 125 ms [n, T, 128]."""
    names = [str(name) for name in table["audio_path"]]
    absent = next((i for i, n in enumerate(names) if not (path.parent / n).is_file()), None)
    if absent is not None:
        raise DataError(
            f"{path}: audio_path row {absent}: {path.parent / names[absent]} is absent; expected a FLAC file"
        )
    paths = [path.parent / n for n in names]

    def make() -> dict[str, Floats]:
        clips_read = [_voice(p) for p in paths]
        tokens, mask, age = _padded([(tokens, valid) for _, tokens, valid in clips_read], TOKEN_S)
        return {"clips": np.stack([clip for clip, *_ in clips_read]), "tokens": tokens, "mask": mask, "age": age}

    kept = cached("ravdess", make, paths, (audio, functionals), ACTIVE)
    return kept["clips"], (kept["tokens"], kept["mask"], kept["age"])


def _voice(path: Path) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != 16_000 or samples.ndim != 1 or len(samples) < TOKEN_SAMPLES:
        raise DataError(f"{path}: {rate} Hz, shape {list(samples.shape)}; expected at least 125 ms of 16 kHz mono")
    padded = np.concatenate([np.zeros(HISTORY, np.float32), samples])
    mel = np.stack(
        [log_mel(padded[i * TOKEN_SAMPLES :][: HISTORY + TOKEN_SAMPLES]) for i in range(len(samples) // TOKEN_SAMPLES)]
    )
    level = mel.max((1, 2))
    with torch.no_grad():
        frames = torch.from_numpy(mel).flatten(0, 1)
        clip = Functionals(len(frames))(frames[None])[0].numpy()
    return clip, np.concatenate([mel.mean(1), mel.std(1)], 1, dtype=np.float32), level > level.max() - ACTIVE


def _padded(rows: list[tuple[Floats, NDArray[np.bool_]]], step_s: float) -> Sequence3:
    """Right-aligned: the newest token is the last."""
    longest = max(1, *(len(values) for values, _ in rows))
    width = max(values.shape[1] for values, _ in rows)
    tokens = np.zeros((len(rows), longest, width), np.float32)
    mask, age = np.zeros((len(rows), longest), np.float32), np.zeros((len(rows), longest), np.float32)
    for i, (values, valid) in enumerate(rows):
        if len(values):
            tokens[i, -len(values) :], mask[i, -len(values) :] = values, valid
            age[i, -len(values) :] = step_s * np.arange(len(values) - 1, -1, -1)
    return tokens, mask, age
