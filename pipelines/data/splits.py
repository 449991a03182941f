"""Who trains, who chooses and who is scored. Groups (videos, actors, dialogues) are never cut in two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data.corpora import DataError
from pipelines.data.feature_sets import Rows
from pipelines.data.holdout_guard import Splits

Index = NDArray[np.int64]


def splits(rows: Rows, seed: int) -> list[Splits[Index]]:
    """The folds of a set: row indices that train, that choose (``dev``: epoch, DPFT), and that are scored (``test``).

    The scored rows of the folds are disjoint. Raises DataError for an empty part.
    """
    parts = ("train", "dev", "test")
    return [
        Splits({part: _some(rows, mask, part) for part, mask in zip(parts, masks, strict=True)})
        for masks in FOLDS[rows.layout.folds or rows.layout.name](rows, seed)
    ]


def release(rows: Rows) -> Splits[Index]:
    """For a checkpoint to keep: chosen on all of dev (on MELD, dialogues of its last fold); none is left to score."""
    dev = _chooses(rows, int(rows.fold.max())) if rows.layout.name == "meld" else rows.split == "dev"
    return Splits({"train": _some(rows, ~dev, "train"), "dev": _some(rows, dev, "dev"), "test": np.zeros(0, np.int64)})


Masks = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
DEV_FOLDS: Final = 2
HELD_OUT: Final = 2
CHOOSING: Final = 3
TENTH: Final = 10


def _mosi(rows: Rows, seed: int) -> list[Masks]:
    """Never re-split: its extractors saw labels of the train videos, so even choosing must happen inside dev.

    Every other dev video chooses while the rest is scored, then the reverse.
    """
    train, dev = rows.split == "train", rows.split == "dev"
    videos = np.unique(rows.group[dev])
    parts = [dev & np.isin(rows.group, videos[k::DEV_FOLDS]) for k in range(DEV_FOLDS)]
    return [(train, dev & ~scored, scored) for scored in parts]


def _ravdess(rows: Rows, seed: int) -> list[Masks]:
    """Two of the train actors, other ones for each seed, choose; the dev actors are scored. Of RAVDESS clips."""
    train, dev = rows.split == "train", rows.split == "dev"
    actors = sorted(np.unique(rows.group[train]), key=int)
    held = {actors[(HELD_OUT * seed + i) % len(actors)] for i in range(HELD_OUT)} if actors else set()
    validation = train & np.isin(rows.group, list(held))
    return [(train & ~validation, validation, dev)]


def _meld(rows: Rows, seed: int) -> list[Masks]:
    """The set's own folds by dialogue: each is scored once; some dialogues of the next one choose, all others train."""
    count = int(rows.fold.max()) + 1
    dev = [_chooses(rows, (k + 1) % count) for k in range(count)]
    return [((rows.fold != k) & ~dev[k], dev[k], rows.fold == k) for k in range(count)]


def _chooses(rows: Rows, fold: int) -> NDArray[np.bool_]:
    """Every third dialogue: a whole fold is a fifth of what little there is to learn from."""
    here = rows.fold == fold
    chosen: NDArray[np.bool_] = np.isin(rows.group, np.unique(rows.group[here])[::CHOOSING])
    return chosen


def _official(rows: Rows, seed: int) -> list[Masks]:
    """The split that the set came with; without validation rows, every tenth group of train chooses."""
    train, dev = rows.split == "train", rows.split == "dev"
    if not dev.any():
        dev = _tenth(rows, train, seed)
    return [(train & ~dev, dev, rows.split == "test")]


def _sessions(rows: Rows, seed: int) -> list[Masks]:
    """Each session is scored once by what learned from the others, a tenth of whose dialogues choose."""
    found = []
    for session in np.unique(rows.fold):
        scored = rows.fold == session
        dev = _tenth(rows, ~scored, seed)
        found.append((~scored & ~dev, dev, scored))
    return found


def _tenth(rows: Rows, some: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = some & np.isin(rows.group, np.unique(rows.group[some])[seed % TENTH :: TENTH])
    return chosen


FOLDS: Final[Mapping[str, Callable[[Rows, int], list[Masks]]]] = {
    "mosi": _mosi,
    "ravdess": _ravdess,
    "meld": _meld,
    "starter": _ravdess,
    "official": _official,
    "sessions": _sessions,
}


def _some(rows: Rows, chosen: NDArray[np.bool_], part: str) -> Index:
    index = np.flatnonzero(chosen)
    if not len(index):
        word = rows.layout.group_word
        raise DataError(f"{rows.layout.name}: the {part} split is empty; expected rows of at least one {word}")
    return index
