"""What trainings share: a log on the screen and in a file, the learning rate, the temperature of a classifier."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Log:
    """Prints a line and appends it to ``path``."""

    path: Path

    def __call__(self, line: str) -> None:
        stamped = f"{time.strftime('%H:%M:%S')} {line}"
        print(stamped, flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(stamped + "\n")


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """The one number that divides logits [n, C] for the best likelihood of labels [n], or of shares [n, C] (Guo et al.
    2017)."""
    grid = torch.logspace(-0.7, 0.7, 141)
    losses = torch.stack([functional.cross_entropy(logits / t, labels) for t in grid])
    return float(grid[losses.argmin()])


def warm_cosine(progress: float, warm: float = 0.05, last: float = 0.0, start: float = 0.0) -> float:
    """The share of the full learning rate at ``progress`` in [0, 1]: half a cosine from 1 to ``last``.

    Over the first ``warm`` of the training it also rises in a straight line, from ``start`` / ``warm``; 0: no rise.
    """
    rise = min(1.0, (progress + start) / warm) if warm else 1.0
    return rise * ((1 + last) / 2 + (1 - last) / 2 * math.cos(math.pi * progress))
