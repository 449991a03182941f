"""One training of an encoder: its net, the moving average of its weights, and the checkpoint it goes on from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipelines.encoders import checkpoint
from pipelines.encoders.average import running_average
from pipelines.encoders.train_log import warm_cosine

N = TypeVar("N", bound=nn.Module)


@dataclass(slots=True)
class Progress(Generic[N]):
    """AdamW at ``rate`` under a warm cosine over ``epochs``. What is kept is the average (Polyak and Juditsky 1992).

    Gradients longer than ``clip`` are shortened to it.
    """

    net: N
    path: Path
    epochs: int
    rate: float
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    clip: float = math.inf

    @property
    def kept(self) -> N:
        """The averaged net."""
        return cast(N, self.average.module)

    def resume(self) -> int:
        """The first epoch to train: 0, or where an unfinished checkpoint of as many epochs or fewer stands."""
        saved = checkpoint.load(self.path) if self.path.is_file() else None
        if saved is None or saved.resume is None or saved.epoch >= self.epochs:
            return 0
        self.net.load_state_dict(saved.resume["net"])
        self.average.load_state_dict(saved.resume["average"])
        self.optimizer.load_state_dict(saved.resume["optimizer"])
        return saved.epoch

    def step(self, loss: Tensor, progress: float) -> float:
        """One step down ``loss``, ``progress`` in [0, 1] epochs of all; the loss as a number."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["share"] * warm_cosine(progress)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimizer.step()
        self.average.update_parameters(self.net)
        return float(loss.item())

    def save(self, facts: Mapping[str, Any], epoch: int) -> None:
        """After ``epoch`` epochs; the last one leaves nothing to resume."""
        resume = None
        if epoch < self.epochs:
            resume = {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        checkpoint.save(self.path, checkpoint.TrainingCheckpoint(self.kept.state_dict(), dict(facts), epoch, resume))


def begin(
    net: N,
    path: Path,
    epochs: int,
    rate: float,
    decay: float,
    clip: float = math.inf,
    rates: Mapping[str, float] | None = None,
) -> Progress[N]:
    """The average moves by ``1 - decay`` of the way with each step, buffers too. ``rates``: of each parameter its share
    of ``rate``, 1 if not given."""
    average = running_average(net, decay)
    shares = {name: (rates or {}).get(name, 1.0) for name, _ in net.named_parameters()}
    groups = [
        {"params": [p for n, p in net.named_parameters() if shares[n] == share], "share": share}
        for share in sorted(set(shares.values()))
    ]
    optimizer = torch.optim.AdamW(groups, rate, weight_decay=5e-2)
    return Progress(net, path, epochs, rate, average, optimizer, clip)


def numbers_of(seed: int, epoch: int) -> tuple[torch.Generator, np.random.Generator]:
    """The random numbers of one epoch, torch's own (dropout) set too: a resumed training draws the same."""
    torch.manual_seed(1_000 * seed + epoch)
    return torch.Generator().manual_seed(1_000 * seed + epoch), np.random.default_rng([seed, epoch])
