"""Tiny files of the layouts that researchers share, with a signal in every modality."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.literature import GCNET_FEATURES

WIDTHS = {"audio": 5, "video": 4, "text": 6}


def gcnet(folder: Path, sessions: bool, classes: int = 4, seed: int = 0) -> Path:
    """Ten conversations of two to four utterances: five sessions of two, or six, two and two of an official split."""
    random = np.random.default_rng(seed)
    names = [f"Ses0{k // 2 + 1}F_impro0{k % 2}" for k in range(10)] if sessions else [f"v{k}" for k in range(10)]
    lengths = dict(zip(names, [2, 3, 4, 3, 2, 4, 3, 2, 3, 4], strict=True))
    ids = {v: [f"{v}_{i}" for i in range(n)] for v, n in lengths.items()}
    if sessions:
        labels: dict[str, Any] = {v: [int(x) for x in random.integers(classes, size=n)] for v, n in lengths.items()}
    else:
        labels = {v: [float(x) for x in random.uniform(-3, 3, n)] for v, n in lengths.items()}
    speakers = {v: ["F" if i % 2 else "M" for i in range(n)] for v, n in lengths.items()}
    texts = {v: ["words"] * n for v, n in lengths.items()}
    for modality, name in GCNET_FEATURES.items():
        (folder / "features" / name).mkdir(parents=True)
        direction = random.normal(size=WIDTHS[modality])
        for v in names:
            for utterance, label in zip(ids[v], labels[v], strict=True):
                values = direction * label + random.normal(size=WIDTHS[modality]) * 0.3
                # Some of the release's files are sequences of one vector.
                shaped = values[None] if modality == "video" else values
                np.save(folder / "features" / name / f"{utterance}.npy", shaped.astype(np.float32))
    splits = [names[:8], names[8:]] if sessions else [names[:6], names[6:8], names[8:]]
    path = folder / ("IEMOCAP_features_raw_4way.pkl" if sessions else "CMUMOSI_features_raw_2way.pkl")
    path.write_bytes(pickle.dumps([ids, labels, speakers, texts, *map(set, splits)], protocol=2))
    return path


def mmsa(folder: Path, aligned: bool = True, scale: float = 3.0, seed: int = 0) -> Path:
    """30 segments of 10 videos, 20 of them to train."""
    random = np.random.default_rng(seed)
    direction = {"text": random.normal(size=6), "audio": random.normal(size=5), "vision": random.normal(size=4)}
    lengths = {"text": 50, "audio": 50 if aligned else 375, "vision": 50 if aligned else 500}
    whole: dict[str, Any] = {}
    for part, videos in {"train": range(7), "valid": range(7, 8), "test": range(8, 10)}.items():
        labels = random.uniform(-scale, scale, 3 * len(videos)).astype(np.float32)
        some: dict[str, Any] = {
            "id": [f"vid{v}$_${k}" for v in videos for k in range(3)],
            "raw_text": ["words"] * len(labels),
            "regression_labels": labels,
        }
        for name, length in lengths.items():
            used = random.integers(3, length, len(labels))
            values = labels[:, None, None] * direction[name] + random.normal(size=(len(labels), length, 1)) * 0.2
            values[np.arange(length) >= used[:, None]] = 0
            some[name] = values.astype(np.float32)
            if not aligned and name != "text":
                some[f"{name}_lengths"] = used.tolist()
        some["audio"][0, 0, 0] = -np.inf
        whole[part] = some
    path = folder / ("aligned_50.pkl" if aligned else "unaligned_39.pkl")
    path.write_bytes(pickle.dumps(whole))
    return path


def conversation(folder: Path, meld: bool = True, seed: int = 0) -> Path:
    """Twelve dialogues, nine of them to train; MELD numbers them, and has a part more."""
    random = np.random.default_rng(seed)
    names: list[Any] = list(range(12)) if meld else [f"Ses0{k % 5 + 1}F_script{k}" for k in range(12)]
    ids = {v: list(range(2 + k % 3)) if meld else [f"{v}_{i}" for i in range(2 + k % 3)] for k, v in enumerate(names)}
    labels = {v: random.integers(6, size=len(u)).tolist() for v, u in ids.items()}
    speakers = {
        v: np.eye(9)[random.integers(9, size=len(u))].tolist() if meld else ["M"] * len(u) for v, u in ids.items()
    }

    def features(width: int) -> dict[Any, Any]:
        direction = random.normal(size=width)
        return {v: [(direction * x + random.normal(size=width)).astype(np.float32) for x in labels[v]] for v in names}

    texts = [features(6) for _ in range(4)]
    sentences = {v: ["words"] * len(u) for v, u in ids.items()}
    parts = [ids, speakers, labels, *texts, features(5), features(4), sentences, names[:9], names[9:]]
    path = folder / ("meld_multi_features.pkl" if meld else "iemocap_multi_features.pkl")
    path.write_bytes(pickle.dumps([*parts, None] if meld else parts, protocol=2))
    return path
