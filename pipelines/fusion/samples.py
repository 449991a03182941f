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


class SampleSet:
    """The rows ``index`` of a set as samples: a clip each, or a dialogue each, in the order of ``position``.

    A dialogue is a group that a split never cuts. Windows are made when samples are taken, as long as the longest
    dialogue among those: padded to the longest of the set, a set of the size of CMU-MOSEI would be 13 times as large.
    """

    def __init__(self, rows: Rows, index: Index, scales: Mapping[Modality, Scale]) -> None:
        self.dialogue = rows.layout.readout == "dialogue"
        places = _dialogues(rows, index) if self.dialogue else index[:, None]
        self._places = torch.from_numpy(places)
        self._rows, self._scales = rows, scales
        self._labels = tuple(torch.from_numpy(x) for x in (rows.emotion, rows.score, rows.ordinal))

    def __len__(self) -> int:
        return len(self._places)

    @property
    def lengths(self) -> Tensor:
        """int64 [S]: places of each sample."""
        return (self._places >= 0).sum(1)

    def all(self) -> Samples:
        """Every sample, in order."""
        return self.take(torch.arange(len(self)))

    def take(self, index: Tensor) -> Samples:
        """The samples ``index``, padded to the longest of them."""
        row = self._places[index]
        row = row[:, : int((row >= 0).sum(1).max())] if len(row) else row
        emotion, score, ordinal = (
            torch.where(row >= 0, x[row], torch.full_like(x[row], none))
            for x, none in zip(self._labels, (UNKNOWN, float("nan"), NO_ORDINAL), strict=True)
        )
        windows = {m: self._window(m, row) for m in MODALITIES}
        return Samples(windows, row, emotion, score, ordinal, self.dialogue)

    def _window(self, m: Modality, row: Tensor) -> Window:
        """One token per place of a dialogue, or the tokens of a clip."""
        places, rows = row.numpy(), self._rows
        real = (places >= 0).astype(np.float32)
        if m not in rows.tokens:
            width = len(self._scales[m].mean) if m in self._scales else 1
            zeros = torch.zeros(len(row), row.shape[1])
            return Window(zeros[..., None].expand(-1, -1, width), zeros, zeros)
        tokens = rows.tokens[m][places]
        tokens = self._scales[m](tokens) if m in self._scales else tokens
        if self.dialogue:
            tokens, mask = np.where(real[..., None] > 0, tokens[:, :, 0], 0), rows.mask[m][places][:, :, 0] * real
            age = np.zeros_like(mask)
        else:
            tokens, mask, age = tokens[:, 0], rows.mask[m][places[:, 0]], rows.age[m][places[:, 0]]
        return Window(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (tokens, mask, age)))


def _dialogues(rows: Rows, index: Index) -> Index:
    """int64 [G, L] row of each utterance, -1 = padding."""
    groups: dict[str, list[int]] = {}
    for i in index[np.lexsort((rows.position[index], rows.group[index]))]:
        groups.setdefault(str(rows.group[i]), []).append(int(i))
    places = np.full((len(groups), max(len(g) for g in groups.values())), -1, np.int64)
    for i, members in enumerate(groups.values()):
        places[i, : len(members)] = members
    return places
