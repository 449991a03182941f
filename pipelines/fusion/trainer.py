"""Staged training of MCULoRA (ALGORITHMS.md 5.2): base, adapters under DPFT, optional self-distillation.

One trainer makes what the device runs and what the results table reports; a TOML file describes each training
(``pipelines.fusion.experiment``). lightning Fabric runs the same loop on one CPU, on one GPU, or under torchrun. All
state is written after every epoch, so that a killed run continues with at most that epoch lost, to the same result.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.model import MCULoRA
from edge_mer.model.inputs import erasable, erased
from pipelines.data.corpora import LICENCES
from pipelines.data.feature_sets import Rows
from pipelines.data.files import draft
from pipelines.data.holdout_guard import Splits
from pipelines.data.scaling import Scale
from pipelines.encoders.average import running_average
from pipelines.encoders.train_log import warm_cosine
from pipelines.fusion.dpft import Dpft, Separability
from pipelines.fusion.estimates import Index, quality
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.fagm import Fagm
from pipelines.fusion.launch import Scored, launch
from pipelines.fusion.objective import distillation, objective, task_loss
from pipelines.fusion.predictor import BATCH, predictor, readout_of
from pipelines.fusion.samples import SampleSet
from pipelines.fusion.saved import Saved
from pipelines.fusion.sources import Batch, Epoch, RowSource, Source
from pipelines.fusion.starter import StarterRows, StarterSource

RESUME: Final = "resume.pt"
CLIP: Final = 1.0
# Added to the progress of a stage while its rate rises, so that the first step is one.
START: Final = 1e-3


class OutOfTime(EdgeMerError):
    """The time cap of a run has passed; its state is saved and the same command continues it."""


@dataclass(slots=True)
class TrainingState:
    """Where training stands; ``epoch`` counts finished ones over all stages, and those left out by ``patience``."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)


def train(
    experiment: Experiment,
    rows: Rows,
    split: Splits[Index],
    out: Path,
    deadline_s: float = math.inf,
    fabric: Fabric | None = None,
    after_epoch: Callable[[int], object] = lambda epoch: None,
) -> Saved:
    """Train on ``split``'s train rows, choose the epoch on its dev rows; continues what ``out`` holds.

    Raises OutOfTime once time.monotonic() has passed ``deadline_s`` (checked between epochs).
    """
    return _Run(experiment, rows, split, out, fabric or launch(experiment, out)).finish(deadline_s, after_epoch)


class _Run:
    def __init__(self, experiment: Experiment, rows: Rows, split: Splits[Index], out: Path, fabric: Fabric) -> None:
        self.experiment, self.rows, self.out, self.fabric = experiment, rows, out, fabric
        train, self.dev = split["train"], split["dev"]
        scaled = rows.tokens if experiment.scale else ()
        self.scales: dict[Modality, Scale] = {m: Scale.of(rows.tokens[m][train], rows.mask[m][train]) for m in scaled}
        self.source: Source = (
            StarterSource(experiment, rows, train, self.dev, self.scales)
            if isinstance(rows, StarterRows)
            else RowSource(experiment, rows, train, self.scales)
        )
        torch.manual_seed(experiment.seed)
        self.raw = MCULoRA(experiment.model_config(rows))
        self.model = fabric.setup_module(Scored(self.raw))
        self.mean = self._averaged()
        self.dpft, self.state = Dpft(experiment.used), TrainingState()

    def finish(self, deadline_s: float, after_epoch: Callable[[int], object]) -> Saved:
        kept = self._kept()
        first = 0
        bar = tqdm(
            total=sum(self.experiment.epochs),
            desc=f"{self.experiment.data} {self.experiment.seed}",
            disable=None if self.fabric.is_global_zero else True,
        )
        for stage, epochs in enumerate(self.experiment.epochs):
            if self.state.epoch < first + epochs:
                if self.state.epoch == first and self.state.best_weights:
                    self.raw.load_state_dict(self.state.best_weights)
                    self.mean = self._averaged()
                    self.state.best = -math.inf  # what is kept has had every stage
                optimizer: Any = self.fabric.setup_optimizers(self._optimizer(stage))
                if kept is not None and self.state.epoch > first:
                    optimizer.load_state_dict(kept["optimizer"])
                while (epoch := self.state.epoch - first) < epochs:
                    # Begun anew: its count of steps is no part of what a killed run leaves.
                    fagm = self._fagm() if stage < 2 else None
                    self._epoch(stage, epoch, epochs, optimizer, fagm)
                    self._after(stage, epoch, first + epochs, optimizer)
                    bar.update(self.state.epoch - bar.n)
                    bar.set_postfix(best=f"{self.state.best:.3f}")
                    after_epoch(self.state.epoch)
                    # One process decides: the others would wait for ever for one that stopped alone.
                    late = self.fabric.broadcast(time.monotonic() > deadline_s)
                    if late and self.state.epoch < sum(self.experiment.epochs):
                        raise OutOfTime(f"{self.out}: stopped after epoch {self.state.epoch}; run it again to continue")
            first += epochs
        bar.close()
        return self._saved()

    def _averaged(self) -> AveragedModel:
        """A running average of the weights; it begins as a copy."""
        return running_average(self.raw, self.experiment.average)

    @property
    def _teacher(self) -> MCULoRA:
        """The average of the weights, in evaluation mode; a copy of them where no average is kept."""
        model = self.mean.module.eval()
        assert isinstance(model, MCULoRA)
        return model

    @property
    def _judged(self) -> MCULoRA:
        """The weights that are validated and kept."""
        return self._teacher if self.experiment.average else self.raw

    def _optimizer(self, stage: int) -> torch.optim.Optimizer:
        """Stage 0 trains all but the adapters, later ones all but the base; adapters never decay."""
        adapters = {id(p) for p in self.raw.adapter_parameters()}
        frozen = adapters if stage == 0 else {id(p) for p in self.raw.base_parameters()}
        if not adapters:
            frozen = set()
        for p in self.raw.parameters():
            p.requires_grad_(id(p) not in frozen)
        parts = [[p for p in self.raw.parameters() if p.requires_grad and (id(p) in adapters) == low] for low in (0, 1)]
        decay = (self.experiment.weight_decay, 0.0)
        groups = [{"params": p, "weight_decay": d} for p, d in zip(parts, decay, strict=True) if p]
        return torch.optim.AdamW(groups, self.experiment.rates[min(stage, 1)])

    def _fagm(self) -> Fagm | None:
        settings = self.experiment.fagm_settings()
        if settings is None:
            return None
        used = [m for m in MODALITIES if m in self.rows.tokens]

        def mean(x: Tensor) -> Tensor:
            reduced = self.fabric.all_reduce(x, reduce_op="mean")
            assert isinstance(reduced, Tensor)
            return reduced

        return Fagm(self.raw, settings, used, reduce=mean)

    def _epoch(self, stage: int, epoch: int, epochs: int, optimizer: Any, fagm: Fagm | None) -> None:
        """One epoch of the source's batches; everything random follows from seed, epoch and rank alone."""
        e, rank = self.experiment, self.fabric.global_rank
        random = np.random.default_rng([e.seed, self.state.epoch, rank])
        torch.manual_seed(int(random.integers(2**31)))
        drawn = Epoch(
            shares=self._shares(stage),
            common=np.random.default_rng([e.seed, self.state.epoch]),
            random=random,
            device=self.fabric.device,
            rank=rank,
            processes=self.fabric.world_size,
            distil=stage == 2,
        )
        self.model.train()
        total = 0.0
        for step, batch in enumerate(self.source.batches(drawn)):
            progress = (epoch + step / self.source.steps) / epochs
            steps = (step + 1) % e.accumulate == 0 or step + 1 == self.source.steps
            for group in optimizer.param_groups:
                share = warm_cosine(progress, e.warm_up / epochs, e.last_rate, START)
                group["lr"] = e.rates[min(stage, 1)] * share
            total += self._gradient(batch, steps) / self.source.steps
            if steps:
                self._step(batch, optimizer, fagm)
                self.mean.update_parameters(self.raw)
        self.state.log.append({"stage": stage, "loss": total})

    def _gradient(self, batch: Batch, steps: bool) -> float:
        """Add the gradient of one batch; the processes exchange theirs before the optimizer ``steps``."""
        e, windows, combination = self.experiment, batch.windows, batch.combination

        def whole(model: MCULoRA) -> Tensor:
            out = model(windows, combination)
            loss = objective(out, batch, e)
            return loss if batch.teacher is None else loss + e.distill * distillation(self._teacher, batch, out)

        with self.fabric.no_backward_sync(self.model, enabled=not steps):
            loss = self.model(whole)
            self.fabric.backward(loss / e.accumulate)
        return float(loss.detach())

    def _step(self, batch: Batch, optimizer: Any, fagm: Fagm | None) -> None:
        """Clip what was added up and move the weights; FAGM measures on the newest batch."""
        e, windows, combination = self.experiment, batch.windows, batch.combination
        self.fabric.clip_gradients(self.model, optimizer, max_norm=CLIP, error_if_nonfinite=False)

        def without(gone: frozenset[Modality]) -> Tensor:
            return task_loss(self.raw(erased(windows, combination, gone), combination), batch, e)

        if fagm is None:
            optimizer.step()
        else:
            fagm.step(optimizer, without, erasable(combination))
        optimizer.zero_grad(set_to_none=True)

    def _shares(self, stage: int) -> NDArray[np.float64]:
        """Of the combinations [7]. Stage 0: even but for a floor of the full one; later DPFT's, even at first."""
        if stage > 0:
            return self.dpft.shares
        used = [COMBINATIONS.index(c) for c in self.experiment.used]
        shares = np.zeros(len(COMBINATIONS))
        shares[used] = (1 - self.experiment.complete) / len(used)
        shares[used[0]] += self.experiment.complete
        return shares

    def _after(self, stage: int, epoch: int, end: int, optimizer: Any) -> None:
        """Validate, let DPFT look, keep the best or last, end a stage that finds no better one, write everything."""
        state, e = self.state, self.experiment
        state.epoch += 1
        reached = self._quality()
        adapted = any(True for _ in self.raw.adapter_parameters())
        if e.dpft and adapted and stage > 0 and epoch + 1 >= e.dpft_from and len(e.used) > 1:
            self.dpft.update(self._sigma())
        if reached >= state.best or e.keep == "last":
            state.best, state.best_epoch = reached, state.epoch
            state.best_weights = {k: v.detach().cpu().clone() for k, v in self._judged.state_dict().items()}
        state.log[-1] |= {"dev": reached}
        if e.patience and state.epoch - state.best_epoch >= e.patience:
            state.epoch = end
        shares = {f"share/{c}": float(self.dpft.shares[COMBINATIONS.index(c)]) for c in e.used}
        self.fabric.log_dict({**state.log[-1], **shares}, step=state.epoch)
        if self.fabric.is_global_zero:
            whole = {
                "experiment": e.sha16,
                "data": self.rows.sha256,
                "state": {f: getattr(state, f) for f in TrainingState.__dataclass_fields__},
                "model": self.raw.state_dict(),
                "mean": self.mean.state_dict(),
                "optimizer": optimizer.state_dict(),
                "dpft": self.dpft.state(),
            }
            with draft(self.out / RESUME) as partial:
                torch.save(whole, partial)
        self.fabric.barrier()

    @property
    def _mine(self) -> tuple[Combination, ...]:
        """The combinations that this process validates."""
        return self.experiment.used[self.fabric.global_rank :: self.fabric.world_size]

    def _sum(self, x: Tensor) -> Tensor:
        """Over all processes."""
        reduced = self.fabric.all_reduce(x, reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return reduced

    def _quality(self) -> float:
        """On the validation rows; each process judges some of the combinations."""
        mine = self._mine
        own = predictor(self._judged, self.rows, self.dev, self.scales)
        if self.fabric.world_size == 1:
            return quality(self.rows, self.dev, own, mine)
        total = quality(self.rows, self.dev, own, mine) * len(mine) if mine else 0.0
        whole = self._sum(torch.tensor(total, dtype=torch.float64, device=self.fabric.device))
        return float(whole) / len(self.experiment.used)

    def _sigma(self) -> dict[Any, float]:
        found, dev, device = Separability(), SampleSet(self.rows, self.dev, self.scales), self.fabric.device
        model = self._judged.eval()
        with torch.no_grad():
            for c, part in itertools.product(self._mine, torch.split(torch.arange(len(dev)), BATCH)):
                some = dev.take(part).to(device)
                shaped = some.shape(torch.full((len(some),), COMBINATIONS.index(c), device=device))
                found.add(readout_of(model, some, shaped), shaped)
        found.reduce(lambda x: self._sum(x.to(device)).cpu())
        # Rounding may take a divergence of nothing just below 0.
        return {c: max(0.0, s) for c, s in found.sigma().items()}

    def _kept(self) -> dict[str, Any] | None:
        """What an interrupted run of the very same experiment and data left."""
        path = self.out / RESUME
        if not path.is_file():
            return None
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if kept["experiment"] != self.experiment.sha16 or kept["data"] != self.rows.sha256:
            return None
        self.state = TrainingState(**kept["state"])
        self.raw.load_state_dict(kept["model"])
        self.mean.load_state_dict(kept["mean"])
        self.dpft.restore(kept["dpft"])
        return kept

    def _saved(self) -> Saved:
        state, layout = self.state, self.rows.layout
        model = MCULoRA(self.raw.config)
        model.load_state_dict(state.best_weights)
        facts = {
            "data": list(layout.sources),
            "data_sha256": self.rows.sha256,
            "licence": "; ".join(LICENCES[s] for s in layout.sources),
            "epoch": state.best_epoch,
            "dev": state.best,
            "parameters": sum(p.numel() for p in self.raw.parameters()),
            "log": state.log,
            **self.source.finish(model.eval()),
        }
        return Saved(self.experiment, self.raw.config, model.state_dict(), self.scales, facts)
