"""Staged training of MCULoRA (ALGORITHMS.md 5.2): base, adapters under DPFT, optional self-distillation.

lightning Fabric runs the same loop on one CPU, on one GPU, or under torchrun. After every epoch all of its state is
written, so that a killed run continues with at most that epoch lost, to the same result.
"""

from __future__ import annotations

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
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.model import MCULoRA
from edge_mer.model.inputs import check, erasable, erased
from pipelines.data.feature_sets import Rows
from pipelines.data.holdout_guard import Splits
from pipelines.data.scaling import Scale
from pipelines.encoders.average import running_average
from pipelines.fusion.augment import Mixed, augmented, mixed
from pipelines.fusion.dpft import Dpft, Separability
from pipelines.fusion.estimates import Index, quality
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.fagm import Fagm
from pipelines.fusion.launch import Scored, launch
from pipelines.fusion.objective import distillation, objective, task_loss
from pipelines.fusion.predictor import predictor, said
from pipelines.fusion.samples import Samples, samples
from pipelines.fusion.saved import Saved

RESUME: Final = "resume.pt"
WARM_UP, CLIP = 0.1, 1.0


class OutOfTime(EdgeMerError):
    """The time cap of a run has passed; its state is saved and the same command continues it."""


@dataclass(slots=True)
class TrainingState:
    """Where training stands; ``epoch`` counts finished ones over all stages."""

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
        train_rows = split["train"]
        self.dev = split["dev"]
        self.scales: dict[Modality, Scale] = {
            m: Scale.of(rows.tokens[m][train_rows], rows.mask[m][train_rows]) for m in rows.tokens
        }
        self.data = samples(rows, train_rows, self.scales)
        torch.manual_seed(experiment.seed)
        self.raw = MCULoRA(experiment.model_config(rows))
        first = torch.full((len(self.data),), COMBINATIONS.index(experiment.used[0]))
        shaped = self.data.shape(first)
        check(self.data.given(shaped), shaped, self.raw.config)
        self.model: nn.Module = fabric.setup_module(Scored(self.raw))
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
                for epoch in range(self.state.epoch, first + epochs):
                    # Begun anew: its count of steps is no part of what a killed run leaves.
                    fagm = self._fagm() if stage < 2 else None
                    self._epoch(stage, epoch - first, epochs, optimizer, fagm)
                    self._after(stage, epoch - first, optimizer)
                    bar.update(self.state.epoch - bar.n)
                    bar.set_postfix(best=f"{self.state.best:.3f}")
                    after_epoch(self.state.epoch)
                    if time.monotonic() > deadline_s and self.state.epoch < sum(self.experiment.epochs):
                        raise OutOfTime(f"{self.out}: stopped after epoch {self.state.epoch}; run it again to continue")
            first += epochs
        bar.close()
        return self._saved()

    def _averaged(self) -> AveragedModel:
        """A running average of the weights; it begins as a copy."""
        return running_average(self.raw, self.experiment.average)

    @property
    def _judged(self) -> MCULoRA:
        """The weights that are validated and kept."""
        model = self.mean.module if self.experiment.average else self.raw
        assert isinstance(model, MCULoRA)
        return model

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
        """One pass over the train samples; everything random follows from seed, epoch and rank alone."""
        e = self.experiment
        common = np.random.default_rng([e.seed, self.state.epoch])
        random = np.random.default_rng([e.seed, self.state.epoch, self.fabric.global_rank])
        torch.manual_seed(int(random.integers(2**31)))
        order = common.permutation(len(self.data))
        batches = np.array_split(order, max(1, round(len(order) / e.batch)))
        self.model.train()
        total = 0.0
        for step, batch in enumerate(batches):
            progress = (epoch + step / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = (
                    e.rates[min(stage, 1)]
                    * min(1.0, (progress + 1e-3) / WARM_UP * epochs / 4)
                    * (0.52 + 0.48 * math.cos(math.pi * progress))
                )
            own = batch[self.fabric.global_rank :: self.fabric.world_size]
            some = self.data.take(torch.from_numpy(own if len(own) else batch)).to(self.fabric.device)
            total += self._step(stage, some, random, optimizer, fagm) / len(batches)
            self.mean.update_parameters(self.raw)
        self.state.log.append({"stage": stage, "loss": total})

    def _step(self, stage: int, some: Samples, random: np.random.Generator, optimizer: Any, fagm: Fagm | None) -> float:
        e = self.experiment
        combination = some.shape(torch.from_numpy(self._draw(stage, len(some), random)).to(some.row.device))
        if some.dialogue:
            # Half of the dialogues lose modalities utterance by utterance, as in the random protocol.
            each = torch.from_numpy(self._draw(stage, some.row.numel(), random)).view_as(some.row).to(some.row.device)
            alone = torch.from_numpy(random.random(len(some)) < 0.5).to(some.row.device)[:, None]
            combination = torch.where((some.row >= 0) & alone, each, combination)
        noisy = augmented(some, e.token_dropout, e.noise)
        mix: Mixed | None = mixed(noisy, e.mixup, random) if e.mixup > 0 and not some.dialogue else None
        source = mix.samples if mix else noisy
        windows = source.given(combination)

        def whole(model: MCULoRA) -> Tensor:
            out = model(windows, combination)
            loss = objective(out, source, e, mix)
            return loss + e.distill * distillation(model, some, combination, out) if stage == 2 else loss

        loss = self.model(whole)
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.model, optimizer, max_norm=CLIP, error_if_nonfinite=False)
        if fagm is None:
            optimizer.step()
            return float(loss.detach())

        def without(gone: frozenset[Modality]) -> Tensor:
            return task_loss(self.raw(erased(windows, combination, gone), combination), source, e, mix)

        fagm.step(optimizer, without, erasable(combination))
        return float(loss.detach())

    def _draw(self, stage: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Stage 0: evenly but for a floor of the full combination; later by DPFT's ratios, even at first."""
        if stage > 0:
            return self.dpft.draw(count, random)
        used = [COMBINATIONS.index(c) for c in self.experiment.used]
        shares = np.full(len(used), (1 - self.experiment.complete) / len(used))
        shares[0] += self.experiment.complete
        return random.choice(used, count, p=shares)

    def _after(self, stage: int, epoch: int, optimizer: Any) -> None:
        """Validate, let DPFT look, keep the best or last, write everything."""
        state, e = self.state, self.experiment
        state.epoch += 1
        reached = quality(self.rows, self.dev, predictor(self._judged, self.rows, self.dev, self.scales), e.used)
        adapted = any(True for _ in self.raw.adapter_parameters())
        if e.dpft and adapted and stage > 0 and epoch + 1 >= e.dpft_from and len(e.used) > 1:
            self.dpft.update(self._sigma())
        if reached >= state.best or e.keep == "last":
            state.best, state.best_epoch = reached, state.epoch
            state.best_weights = {k: v.detach().cpu().clone() for k, v in self._judged.state_dict().items()}
        state.log[-1] |= {"dev": reached}
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
            self.out.mkdir(parents=True, exist_ok=True)
            partial = self.out / "resume.partial"
            torch.save(whole, partial)
            partial.replace(self.out / RESUME)
        self.fabric.barrier()

    def _sigma(self) -> dict[Any, float]:
        found, dev = Separability(), samples(self.rows, self.dev, self.scales).to(self.fabric.device)
        model = self._judged.eval()
        with torch.no_grad():
            for c in self.experiment.used:
                shaped = dev.shape(torch.full((len(dev),), COMBINATIONS.index(c), device=self.fabric.device))
                found.add(said(model, dev, shaped), shaped)
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
        state = self.state
        facts = {
            "data": self.rows.layout.name,
            "data_sha256": self.rows.sha256,
            "epoch": state.best_epoch,
            "dev": state.best,
            "parameters": sum(p.numel() for p in self.raw.parameters()),
            "log": state.log,
        }
        return Saved(self.experiment, self.raw.config, state.best_weights, self.scales, facts)
