"""Small files of the layouts of the feature sets, with a signal in every modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.feature_specs import layout_of


def arrays(name: str, groups: int = 12, each: int = 3, seed: int = 0) -> dict[str, Any]:
    """A set of the layout ``name`` ("mosi" or "meld"): the first two thirds of the groups train."""
    layout, random = layout_of(name), np.random.default_rng(seed)
    n = groups * each
    group, score = np.repeat(np.arange(groups), each), random.uniform(-3, 3, n).astype(np.float32)
    features = {
        array: (random.normal(size=(n, layout.widths[m])) * 0.5 + score[:, None] * random.normal(size=layout.widths[m]))
        for m, array in layout.arrays.items()
    }
    out: dict[str, Any] = {key: x.astype(np.float32) for key, x in features.items()}
    out |= {"utterance_no": np.tile(np.arange(each), groups).astype(np.int16)}
    if name == "mosi":
        split = np.where(group < 2 * groups // 3, "train", "dev")
        return out | {"video_id": np.array([f"v{g:02d}" for g in group]), "split": split, "sentiment": score}
    ordinal = np.digitize(score, [-1, 1]).astype(np.int8)
    return out | {
        "dialogue_id": group.astype(np.int16),
        "fold": (group % 3).astype(np.int8),
        "emotion": (ordinal * 2).astype(np.int8),
        "emotion_names": np.array(layout.emotions),
        "sentiment": ordinal,
    }


def write(folder: Path, name: str, **changes: Any) -> Path:
    """The file on disk; a change of None leaves the array out."""
    values = {k: v for k, v in {**arrays(name), **changes}.items() if v is not None}
    path = folder / f"{name}.npz"
    np.savez(path, **values)
    return path
