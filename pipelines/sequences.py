"""RAVDESS clips as token sequences: 8 log-mel tokens and 5 face posteriors per second, as on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_mer.domain import Modality
from edge_mer.perception.audio import HISTORY, TOKEN_SAMPLES, log_mel
from pipelines.data import DataError

Floats = NDArray[np.float32]
Table = Mapping[str, NDArray[Any]]
Sequence3 = tuple[Floats, Floats, Floats]

TOKEN_S, SLOT_S, FPS = 0.125, 0.2, 29.97
# A token is active when its loudest band is within this many nats of the clip's loudest (as pipelines.audio).
ACTIVE: Final = 8.0
CACHE: Final = Path("runs/cache")


def of_ravdess(modality: Modality, table: Table, path: Path, functionals: Floats) -> Sequence3:
    """tokens [n, T, d], mask [n, T], age [n, T]; each token also carries its clip's functionals."""
    tokens, mask, age = voices(table, path) if modality == "audio" else faces(table)
    whole = np.broadcast_to(functionals[:, None], (*mask.shape, functionals.shape[1]))
    return np.concatenate([tokens, whole], 2, dtype=np.float32), mask, age


def log_posteriors(table: Table) -> Floats:
    """Mean and deviation over a clip of the log posteriors of each face, [n, 14]: products of evidence, not sums."""
    logs = np.log(table["visual_seq"].astype(np.float32) + np.float32(1e-3))
    rows = [logs[first:last] if last > first else logs[:1] * 0 for first, last in pairwise(table["visual_offsets"])]
    return np.stack([np.concatenate([x.mean(0), x.std(0)]) for x in rows]).astype(np.float32)


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


def voices(table: Table, path: Path) -> Sequence3:
    """Mean and deviation of each log-mel band in every 125 ms: [n, T, 128]; kept in runs/cache."""
    names = [str(name) for name in table["audio_path"]]
    absent = next((i for i, n in enumerate(names) if not (path.parent / n).is_file()), None)
    if absent is not None:
        raise DataError(
            f"{path}: audio_path row {absent}: {path.parent / names[absent]} is absent; expected a FLAC file"
        )
    stamp = "".join(f"{n}{(path.parent / n).stat().st_size}" for n in names)
    kept = CACHE / f"ravdess-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as file:
            return file["tokens"], file["mask"], file["age"]
    result = _padded([_voice(path.parent / n) for n in names], TOKEN_S)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial.npz")
    np.savez(partial, tokens=result[0], mask=result[1], age=result[2])
    partial.replace(kept)
    return result


def _voice(path: Path) -> tuple[Floats, NDArray[np.bool_]]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != 16_000 or samples.ndim != 1 or len(samples) < TOKEN_SAMPLES:
        raise DataError(f"{path}: {rate} Hz, shape {list(samples.shape)}; expected at least 125 ms of 16 kHz mono")
    padded = np.concatenate([np.zeros(HISTORY, np.float32), samples])
    mel = np.stack(
        [log_mel(padded[i * TOKEN_SAMPLES :][: HISTORY + TOKEN_SAMPLES]) for i in range(len(samples) // TOKEN_SAMPLES)]
    )
    level = mel.max((1, 2))
    return np.concatenate([mel.mean(1), mel.std(1)], 1, dtype=np.float32), level > level.max() - ACTIVE


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
