"""Rows as tensors: one clip per sample, or one dialogue per sample with an utterance per position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.model import Window
from edge_mer.model.inputs import presence, select
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.data.feature_sets import Rows
from pipelines.data.scaling import Scale

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """``windows`` [S, T, d]; ``row`` int64 [S, P]: the row of each place, -1 = padding; the labels likewise.

    P = 1 for clips, and T = P = the longest dialogue in the dialogue readout.
    """

    windows: dict[Modality, Window]
    row: Tensor
    emotion: Tensor
    score: Tensor
    ordinal: Tensor
    dialogue: bool

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Tensor) -> Samples:
        """Some of the samples."""
        windows = {m: Window(w.tokens[index], w.mask[index], w.age[index]) for m, w in self.windows.items()}
        row, emotion, score, ordinal = (x[index] for x in (self.row, self.emotion, self.score, self.ordinal))
        return Samples(windows, row, emotion, score, ordinal, self.dialogue)

    def to(self, device: torch.device) -> Samples:
        """On another device."""
        windows = {m: Window(w.tokens.to(device), w.mask.to(device), w.age.to(device)) for m, w in self.windows.items()}
        row, emotion, score, ordinal = (x.to(device) for x in (self.row, self.emotion, self.score, self.ordinal))
        return Samples(windows, row, emotion, score, ordinal, self.dialogue)

    def shape(self, combination: Tensor) -> Tensor:
        """A combination per sample [S] in the form that the readout takes: [S], or [S, P] with -1 at padding."""
        if not self.dialogue:
            return combination
        return torch.where(self.row >= 0, combination[:, None], torch.full_like(self.row, -1))

    def given(self, combination: Tensor) -> dict[Modality, Window]:
        """The windows with masks that say what is present under ``combination``, as ``shape`` gives it."""
        if not self.dialogue:
            return self.windows
        here = presence(combination)
        out = {}
        for i, m in enumerate(MODALITIES):
            window = self.windows[m]
            mask = torch.where(here[..., i], window.mask, torch.zeros_like(window.mask))
            out[m] = select(Window(window.tokens, mask, window.age), m, combination)
        return out


def samples(rows: Rows, index: Index, scales: Mapping[Modality, Scale]) -> Samples:
    """The rows ``index``; a group that a split never cuts becomes one dialogue, in the order of ``position``."""
    dialogue = rows.layout.readout == "dialogue"
    places = _dialogues(rows, index) if dialogue else index[:, None]
    row = torch.from_numpy(places)
    windows: dict[Modality, Window] = {}
    for m in MODALITIES:
        if m not in rows.tokens:
            length = places.shape[1] if dialogue else 1
            zeros, width = torch.zeros(len(places), length), len(scales[m].mean) if m in scales else 1
            windows[m] = Window(zeros[..., None].expand(-1, -1, width), zeros, zeros)
            continue
        tokens = rows.tokens[m][places[:, :1] if not dialogue else places]
        tokens = scales[m](tokens) if m in scales else tokens
        real = (places >= 0).astype(np.float32)
        if dialogue:
            tokens, mask = tokens[:, :, 0] * real[..., None], rows.mask[m][places][:, :, 0] * real
            age = np.zeros_like(mask)
        else:
            tokens, mask, age = tokens[:, 0], rows.mask[m][index], rows.age[m][index]
        windows[m] = Window(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (tokens, mask, age)))

    def labels(values: NDArray[np.generic], none: float) -> Tensor:
        return torch.from_numpy(np.where(places >= 0, values[places], none).astype(values.dtype))

    emotion, ordinal = labels(rows.emotion, UNKNOWN), labels(rows.ordinal, NO_ORDINAL)
    return Samples(windows, row, emotion, labels(rows.score, np.nan), ordinal, dialogue)


def _dialogues(rows: Rows, index: Index) -> Index:
    """int64 [G, L] row of each utterance, -1 = padding."""
    groups: dict[str, list[int]] = {}
    for i in index[np.lexsort((rows.position[index], rows.group[index]))]:
        groups.setdefault(str(rows.group[i]), []).append(int(i))
    places = np.full((len(groups), max(len(g) for g in groups.values())), -1, np.int64)
    for i, members in enumerate(groups.values()):
        places[i, : len(members)] = members
    return places
