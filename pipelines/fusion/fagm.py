"""FAGM: parameters that serve the dominant modality move more slowly (ACM MM 2023, ALGORITHMS.md 4.1 and 4.2).

A plug-in of the optimizer step. Dominance of a modality is the rise of the loss when it is erased; layers that see one
modality only are slowed as a whole, layers that see several by input column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import ConfigError

# Final classifiers stay as they are, as in the authors' code.
CLASSIFIERS: Final = ("heads.emotion.fc2", "heads.sentiment.fc2")

Loss = Callable[[frozenset[Modality]], Tensor]
"""The task loss (scalar) of the current batch with these modalities erased; FAGM calls it in eval mode, no grad."""


@dataclass(frozen=True, slots=True)
class FagmSettings:
    """``gamma`` shapes dominance, ``beta`` is the share of endemic neurons, ``every`` the steps between measurements.

    ``on`` = "update" scales what the optimizer did, so that it works under AdamW too, which cancels a constant factor
    of the gradient; "gradient" is the authors' form. ``relative`` takes score / loss instead of the authors'
    0.1 x score. Raises ConfigError.
    """

    gamma: float = 0.5
    beta: float = 0.5
    every: int = 4
    kappa: float = 1.0
    dead_zone: float = 1e-3
    floor: float = 0.2
    on: Literal["update", "gradient"] = "update"
    relative: bool = True

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise ConfigError(f"gamma {self.gamma} must be above 0: 0^0 = 1 would freeze every modality")
        if not (0 < self.beta <= 1 and self.every >= 1 and 0 < self.floor <= 1 and self.dead_zone >= 0):
            raise ConfigError(f"{self}: expected 0 < beta <= 1, every >= 1, 0 < floor <= 1, dead_zone >= 0")


@dataclass(frozen=True, slots=True)
class Partition:
    """Names of modules: ``specific`` see one modality only, ``general`` several."""

    specific: Mapping[Modality, tuple[str, ...]]
    general: tuple[str, ...]


class Fagm:
    """``fagm.step(optimizer, loss, present)`` in the place of ``optimizer.step()``.

    Low-rank pairs of single combinations are never slowed: no hook sees them (MCLALinear joins them in one product).
    With several processes pass ``reduce`` (mean over ranks), so that all slow down alike.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: FagmSettings | None = None,
        modalities: Sequence[Modality] = MODALITIES,
        skip: Collection[str] = CLASSIFIERS,
        reduce: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        self.settings, self.modalities = settings or FagmSettings(), tuple(modalities)
        self.partition: Partition | None = None
        self.multipliers: dict[str, Tensor] = {}
        self._model, self._reduce, self._steps = model, reduce, 0
        self._modules = {
            name: module
            for name, module in model.named_modules()
            if any(True for _ in module.parameters(recurse=False)) and not name.startswith(tuple(skip))
        }

    def step(self, optimizer: Any, loss: Loss, present: Mapping[Modality, float]) -> None:
        """After backward and clipping. ``present``: share of samples that hold a modality beside another one.

        (``edge_mer.model.inputs`` has ``erased`` and ``erasable`` for both.) Without two such modalities in the batch
        the step is plain until the next measurement.
        """
        if self._steps % self.settings.every == 0:
            self.multipliers = self._measure(loss, present)
        self._steps += 1
        parameters = dict(self._model.named_parameters())
        slowed = [(parameters[n], k) for n, k in self.multipliers.items() if parameters[n].grad is not None]
        if self.settings.on == "gradient":
            for parameter, k in slowed:
                assert parameter.grad is not None
                parameter.grad.mul_(k)
            optimizer.step()
            return
        before = [parameter.detach().clone() for parameter, _ in slowed]
        optimizer.step()
        with torch.no_grad():
            for (parameter, k), old in zip(slowed, before, strict=True):
                parameter.copy_(torch.where(k == 1, parameter, old + k * (parameter - old)))

    def _measure(self, loss: Loss, present: Mapping[Modality, float]) -> dict[str, Tensor]:
        """A multiplier per parameter that is slowed at all: a scalar, or one number per input column."""
        with _evaluating(self._model), torch.no_grad():
            # Every process must come to the same decision, or the others wait for it for ever.
            device = next(self._model.parameters()).device
            shares = self._reduce(torch.tensor([present.get(m, 0.0) for m in self.modalities], device=device)).tolist()
            share = {m: s for m, s in zip(self.modalities, shares, strict=True) if s > 0}
            if len(share) < 2:
                return {}
            if self.partition is None:
                if len(share) < len(self.modalities):
                    return {}
                self.partition = self._divide(loss)
            base, whole = self._run(loss, frozenset(), self.partition.general)
            scores, shifts = {}, {}
            for m in share:
                without, inputs = self._run(loss, frozenset({m}), self.partition.general)
                scores[m] = self._reduce(without - base).item() / share[m]
                shifts[m] = {n: self._reduce((whole[n] - x).abs().flatten(0, -2).mean(0)) for n, x in inputs.items()}
        dominant = dominance(self._reduce(base).item(), scores, self.settings)
        return dict(self._slowed(dominant, shifts))

    def _slowed(
        self, dominant: Mapping[Modality, float], shifts: Mapping[Modality, Mapping[str, Tensor]]
    ) -> Iterator[tuple[str, Tensor]]:
        assert self.partition is not None
        for m, share in dominant.items():
            for name in self.partition.specific[m] if share > 0 else ():
                for leaf, parameter in self._modules[name].named_parameters(recurse=False):
                    yield f"{name}.{leaf}", parameter.new_tensor(max(1 - share, self.settings.floor))
        if not any(dominant.values()):
            return
        for name in self.partition.general:
            pen = penalty({m: shifts[m][name] for m in dominant}, dominant, self.settings)
            for leaf, parameter in self._modules[name].named_parameters(recurse=False):
                if parameter.dim() >= 2 and parameter.shape[-1] == len(pen):
                    yield f"{name}.{leaf}", pen.to(parameter.dtype)

    def _divide(self, loss: Loss) -> Partition:
        """Specific to m: the input is the same when only m is kept, and another when m is erased."""
        names = tuple(self._modules)
        _, whole = self._run(loss, frozenset(), names)

        def moved_by(gone: frozenset[Modality]) -> set[str]:
            _, inputs = self._run(loss, gone, names)
            # The largest change, not the sum of changes: those of opposite signs must not cancel.
            return {n for n, x in inputs.items() if self._reduce(_change(whole[n], x)).item() > 0}

        erased = {m: moved_by(frozenset({m})) for m in self.modalities}
        only = {m: moved_by(frozenset(self.modalities) - {m}) for m in self.modalities}
        specific = {m: tuple(n for n in whole if n in erased[m] - only[m]) for m in self.modalities}
        taken = {n for part in specific.values() for n in part}
        return Partition(specific, tuple(n for n in whole if n in set().union(*erased.values()) - taken))

    def _run(self, loss: Loss, erased: frozenset[Modality], names: Collection[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the first input of each called module among ``names``."""
        inputs: dict[str, Tensor] = {}

        def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            def record(_: nn.Module, arguments: tuple[Any, ...]) -> None:
                inputs[name] = arguments[0].detach()

            return record

        handles = [self._modules[n].register_forward_pre_hook(hook(n)) for n in names]
        try:
            value = loss(erased)
        finally:
            for handle in handles:
                handle.remove()
        return value, inputs


def dominance(base: float, scores: Mapping[Modality, float], settings: FagmSettings) -> dict[Modality, float]:
    """I_m = (softmax(s)_m - min)^gamma in [0, 1): 0 for the weakest and within the dead zone.

    ``scores``: rise of the loss when m is erased; ``base``: the loss with everything. All equal gives exactly 0.
    """
    scale = settings.kappa / (abs(base) + 1e-6) if settings.relative else 0.1
    highest = max(scores.values())
    weights = {m: math.exp(scale * (s - highest)) for m, s in scores.items()}
    total = sum(weights.values())
    ratio = {m: w / total for m, w in weights.items()}
    least = min(ratio.values())
    return {m: 0.0 if r - least <= settings.dead_zone else (r - least) ** settings.gamma for m, r in ratio.items()}


def penalty(shifts: Mapping[Modality, Tensor], dominant: Mapping[Modality, float], settings: FagmSettings) -> Tensor:
    """A multiplier in [floor, 1] per input column of a general layer; ``shifts`` [n_in] per modality."""
    pen = torch.ones_like(next(iter(shifts.values())))
    for m, chosen in endemic(shifts, settings.beta).items():
        pen = torch.where(chosen, pen - dominant[m], pen)
    return pen.clamp(min=settings.floor)


def endemic(shifts: Mapping[Modality, Tensor], beta: float) -> dict[Modality, Tensor]:
    """S_m, bool [n_in]: of the neurons that m moves most, the share ``beta`` (at least one) that it moves by far."""
    sets = {}
    for m, shift in shifts.items():
        lead = shift - torch.stack([s for other, s in shifts.items() if other != m]).amax(0)
        count = int((lead > 0).sum())
        order = torch.argsort(lead, descending=True, stable=True)[: max(math.floor(beta * count), 1) if count else 0]
        sets[m] = torch.zeros_like(lead, dtype=torch.bool).index_fill(0, order, True)
    return sets


def _change(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().amax()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that dropout is not taken for the effect of a modality; each module's mode comes back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
