"""DPFT: combinations that the model separates badly are trained more often (MCULoRA, ALGORITHMS.md 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, Combination
from edge_mer.contract.errors import ConfigError
from edge_mer.model.losses import separability
from edge_mer.model.mculora import Readout

LN2: Final = float(np.log(2))


@dataclass(frozen=True, slots=True)
class DpftSettings:
    """``floor`` rho: share spread evenly; ``temperature`` of the softmax; ``memory`` of sigma's running mean;
    ``smoothing``: weight of the new ratios. Raises ConfigError.
    """

    floor: float = 0.3
    temperature: float = 1.0
    memory: float = 0.5
    smoothing: float = 0.3

    def __post_init__(self) -> None:
        inside = 0 < self.floor <= 1 and 0 <= self.memory < 1 and 0 < self.smoothing <= 1
        if not inside or self.temperature <= 0:
            raise ConfigError(f"{self}: expected 0 < floor <= 1, temperature > 0, 0 <= memory < 1, 0 < smoothing <= 1")


class Separability:
    """sigma_i on VALIDATION data: feed it readouts batch by batch, then ``sigma()``."""

    def __init__(self) -> None:
        self._total, self._count = torch.zeros(7), torch.zeros(7)

    def add(self, readout: Readout, combination: torch.Tensor) -> None:
        """A readout of an unmerged model in evaluation mode; ``combination`` [B] or [B, L] as it was given."""
        total, count = separability(readout.trace, combination)
        self._total, self._count = self._total + total, self._count + count

    def reduce(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Add up what several processes were fed; ``reduce`` sums a tensor over all of them."""
        self._total, self._count = reduce(self._total), reduce(self._count)

    def sigma(self) -> dict[Combination, float]:
        """Mean JSD in [0, ln 2] of every combination that was seen; empty for a model without adapters."""
        mean = (self._total / self._count.clamp(min=1)).tolist()
        return {c: mean[i] for i, c in enumerate(COMBINATIONS) if self._count[i] > 0}


class Dpft:
    """The ratios q of the combinations that a set has, even at first, and the sampler that follows them.

    Invariants: sum q = 1; q_i >= floor / n; from even ratios, the least separable combination gets the most. The empty
    combination cannot be drawn.
    """

    def __init__(
        self, combinations: Sequence[Combination] = COMBINATIONS, settings: DpftSettings | None = None
    ) -> None:
        if not combinations or len(set(combinations)) < len(combinations) or not set(combinations) <= set(COMBINATIONS):
            raise ConfigError(f"combinations {list(combinations)} must be different ones of {', '.join(COMBINATIONS)}")
        self.combinations, self.settings = tuple(combinations), settings or DpftSettings()
        self._ratios = np.full(len(combinations), 1 / len(combinations))
        self._sigma: NDArray[np.float64] | None = None

    @property
    def shares(self) -> NDArray[np.float64]:
        """Probabilities [7] in the order of COMBINATIONS; 0 for those that the set lacks."""
        shares = np.zeros(len(COMBINATIONS))
        shares[[COMBINATIONS.index(c) for c in self.combinations]] = self._ratios
        return shares

    def update(self, sigma: Mapping[Combination, float]) -> None:
        """Once per epoch, with the separability of every combination of the set. Raises ConfigError."""
        missing = [c for c in self.combinations if c not in sigma]
        new = np.array([sigma.get(c, np.nan) for c in self.combinations])
        if missing or not ((new >= 0) & (new <= LN2 + 1e-6)).all():
            raise ConfigError(f"sigma {dict(sigma)}: expected a number in [0, ln 2] for {', '.join(self.combinations)}")
        memory = self.settings.memory
        self._sigma = new if self._sigma is None else memory * self._sigma + (1 - memory) * new
        smooth = self.settings.smoothing
        self._ratios = (1 - smooth) * self._ratios + smooth * ratios(self._sigma, self.settings)

    def state(self) -> dict[str, Any]:
        """For checkpoints: plain lists."""
        return {"ratios": self._ratios.tolist(), "sigma": None if self._sigma is None else self._sigma.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()`` of the same combinations."""
        if len(state["ratios"]) != len(self.combinations):
            raise ConfigError(f"the state has {len(state['ratios'])} ratios; expected {len(self.combinations)}")
        self._ratios = np.array(state["ratios"])
        self._sigma = None if state["sigma"] is None else np.array(state["sigma"])


def draw(shares: NDArray[np.float64], size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A combination per sample: int64 [size], indices of COMBINATIONS, with the probabilities ``shares`` [7]."""
    return random.choice(len(COMBINATIONS), size, p=shares / shares.sum()).astype(np.int64)


def ratios(sigma: NDArray[np.float64], settings: DpftSettings) -> NDArray[np.float64]:
    """q = (1 - rho) softmax(-z / tau) + rho / n, with z the z-score of sigma [n]."""
    z = (sigma - sigma.mean()) / (sigma.std() + 1e-6)
    weights = np.exp(-(z - z.min()) / settings.temperature)
    return np.asarray((1 - settings.floor) * weights / weights.sum() + settings.floor / len(sigma))
