"""Checkpoints of training: the weights, where training stands, and the figures it reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.data.corpora import DataError
from pipelines.data.files import draft


@dataclass(slots=True)
class TrainingCheckpoint:
    """``facts`` goes into the model card: data sets, figures on dev, shapes. ``resume`` is what an unfinished
    training goes on from beside ``weights``, which are those to keep."""

    weights: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    resume: dict[str, Any] | None = None


def save(path: Path, checkpoint: TrainingCheckpoint) -> None:
    """Write whole or not at all."""
    with draft(path) as partial:
        torch.save({f: getattr(checkpoint, f) for f in TrainingCheckpoint.__dataclass_fields__}, partial)


def load(path: Path) -> TrainingCheckpoint:
    """Raises DataError when there is none."""
    if not path.is_file():
        raise DataError(f"{path} is absent; run: python -m pipelines.train {path.stem}")
    return TrainingCheckpoint(**torch.load(path, map_location="cpu", weights_only=True))
