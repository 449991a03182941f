"""Where the trainer's batches come from: passes over fixed rows, or whatever a set with recordings draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, Modality, combination_of
from edge_mer.model import MCULoRA
from edge_mer.model.inputs import Window, check
from pipelines.data.feature_sets import Rows
from pipelines.data.scaling import Scale
from pipelines.fusion.augment import augmented, mixed
from pipelines.fusion.dpft import draw
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.samples import Index, Samples, SampleSet

# Samples that are checked together before a training.
CHECKED: Final = 128

Given = tuple[Mapping[Modality, Window], Tensor]
"""Windows as the model takes them, and their combination."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``windows`` by modality; ``combination`` int64 [S], or [S, P] in a dialogue; the labels, [S] or [S, P].

    ``mixed``: ``share`` of each sample itself and the rest of the permutation [S] (mixup, Zhang et al. 2018).
    ``teacher``: the same samples with all their modalities and without noise, for self-distillation.
    """

    windows: Mapping[Modality, Window]
    combination: Tensor
    emotion: Tensor
    score: Tensor
    ordinal: Tensor
    mixed: tuple[float, Tensor] | None = None
    teacher: Given | None = None

    def to(self, device: torch.device) -> Batch:
        """On another device; ``mixed`` and ``teacher`` stay where they are."""
        windows = {m: Window(w.tokens.to(device), w.mask.to(device), w.age.to(device)) for m, w in self.windows.items()}
        labels = {name: getattr(self, name).to(device) for name in ("combination", "emotion", "score", "ordinal")}
        return replace(self, windows=windows, **labels)


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """One epoch of one process. ``shares`` [7] of the combinations; ``common`` is seeded alike in all processes,
    ``random`` and torch's own generator differently in each. ``distil``: the batches need a teacher."""

    shares: NDArray[np.float64]
    common: np.random.Generator
    random: np.random.Generator
    device: torch.device
    rank: int = 0
    processes: int = 1
    distil: bool = False

    def combinations(self, count: int) -> Tensor:
        """A combination per sample: int64 [count]."""
        return torch.from_numpy(draw(self.shares, count, self.random)).to(self.device)


class Source(Protocol):
    """What a training learns from: ``steps`` batches per epoch."""

    @property
    def steps(self) -> int: ...

    def batches(self, epoch: Epoch) -> Iterator[Batch]: ...

    def finish(self, model: MCULoRA) -> Mapping[str, Any]:
        """The last step of a training, in place on the chosen weights; facts for the checkpoint."""
        ...


class RowSource:
    """Every row once per epoch, augmented. Raises InputError for rows that the model cannot take."""

    def __init__(self, experiment: Experiment, rows: Rows, train: Index, scales: Mapping[Modality, Scale]) -> None:
        self._experiment, self._data = experiment, SampleSet(rows, train, scales)
        self._whole = COMBINATIONS.index(combination_of(set(rows.tokens)))
        self.steps = max(1, round(len(self._data) / experiment.batch))
        for part in torch.split(torch.arange(len(self._data)), CHECKED):
            some = self._data.take(part)
            shaped = some.shape(torch.full((len(some),), COMBINATIONS.index(experiment.used[0])))
            check(some.given(shaped), shaped, experiment.model_config(rows))

    def batches(self, epoch: Epoch) -> Iterator[Batch]:
        for batch in self._order(epoch.common):
            own = batch[epoch.rank :: epoch.processes]
            yield self._batch(self._data.take(torch.from_numpy(own if len(own) else batch)).to(epoch.device), epoch)

    def finish(self, model: MCULoRA) -> Mapping[str, Any]:
        return {}

    def _order(self, random: np.random.Generator) -> list[Index]:
        """Every sample once. Samples of ``bucket`` batches are sorted by length, so that a batch has little padding."""
        drawn = np.array_split(random.permutation(len(self._data)), self.steps)
        size = self._experiment.bucket
        if size == 1:
            return drawn
        lengths, batches = self._data.lengths.numpy(), list[Index]()
        for first in range(0, len(drawn), size):
            some = np.concatenate(drawn[first : first + size])
            some = some[np.argsort(lengths[some], kind="stable")]
            batches += np.array_split(some, len(drawn[first : first + size]))
        return [batches[i] for i in random.permutation(len(batches))]

    def _batch(self, some: Samples, epoch: Epoch) -> Batch:
        e = self._experiment
        combination = some.shape(epoch.combinations(len(some)))
        if some.dialogue:
            # Half of the dialogues lose modalities utterance by utterance, as in the random protocol.
            each = epoch.combinations(some.row.numel()).view_as(some.row)
            alone = torch.from_numpy(epoch.random.random(len(some)) < 0.5).to(epoch.device)[:, None]
            combination = torch.where((some.row >= 0) & alone, each, combination)
        given = augmented(some, e.token_dropout, e.noise)
        mix: tuple[float, Tensor] | None = None
        if e.mixup > 0 and not some.dialogue:
            given, share, order = mixed(given, e.mixup, epoch.random)
            mix = share, order
        return Batch(
            given.given(combination),
            combination,
            some.emotion,
            some.score,
            some.ordinal,
            mix,
            self._teacher(some, combination) if epoch.distil else None,
        )

    def _teacher(self, some: Samples, combination: Tensor) -> Given:
        everything = torch.where(combination >= 0, torch.full_like(combination, self._whole), combination)
        return some.given(everything), everything
