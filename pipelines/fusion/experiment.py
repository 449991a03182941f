"""One training of MCULoRA on a feature set, as a TOML file says: ``python -m pipelines.train CONFIG.toml``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edge_mer.contract.domain import Combination
from edge_mer.contract.errors import ConfigError
from edge_mer.model.config import MCULoRAConfig, Size, sized
from edge_mer.model.config import Task as ModelTask
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import combinations_of, layout_of
from pipelines.fusion.fagm import FagmSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Keep = Literal["best", "last"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that decides a result. Raises ConfigError.

    ``model``: changes to MCULoRAConfig. ``epochs``: of stage 0 (base), 1 (adapters), 2 (self-distillation);
    ``rates``: learning rates of base and of adapters. ``token_dropout``: most of the tokens (of the features, where a
    modality is one vector) that a sample loses; ``noise``: deviation of the noise on standardised inputs.
    ``average``: share that the running average of the weights keeps at each step; what is validated and kept.
    ``keep``: of each stage the epoch that does best on the validation rows, or, where those are few, the last.
    ``fagm``: steps between its measurements (0: plain steps), ``fagm_gamma``: above 0.5 it slows the dominant less.
    ``complete``: least share of the full combination in stage 0. ``combinations``: all of the set by default.
    """

    data: str
    seed: int = 0
    size: Size = "small"
    model: Mapping[str, Any] = field(default_factory=dict)
    epochs: tuple[int, int, int] = (12, 12, 0)
    rates: tuple[float, float] = (1e-3, 1e-3)
    batch: int = 32
    weight_decay: float = 1e-2
    token_dropout: float = 0.3
    noise: float = 0.1
    mixup: float = 0.0
    complete: float = 0.3
    ortho: float = 0.1
    balance: float = 0.01
    distill: float = 0.2
    smoothing: float = 0.1
    average: float = 0.0
    keep: Keep = "best"
    dpft: bool = True
    dpft_from: int = 3
    fagm: int = 4
    fagm_gamma: float = 0.5
    combinations: tuple[Combination, ...] = ()
    tasks: tuple[ModelTask, ...] = ()
    precision: str = "32-true"

    def __post_init__(self) -> None:
        layout = layout_of(self.data)
        for name in ("epochs", "rates", "combinations", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        combinations_of(layout, ",".join(self.combinations) or None)
        if len(self.epochs) != 3 or min(self.epochs) < 0 or sum(self.epochs) < 1 or len(self.rates) != 2:
            raise ConfigError(f"epochs {self.epochs} must be three counts with a sum above 0, rates {self.rates} two")
        if self.batch < 1 or min(self.rates) <= 0:
            raise ConfigError(f"{self}: expected batch >= 1, rates > 0")
        if self.keep not in get_args(Keep):
            raise ConfigError(f"keep {self.keep!r} must be one of {', '.join(get_args(Keep))}")
        if not (0 <= self.token_dropout < 1 and 0 <= self.average < 1 and 0 <= self.complete <= 1):
            raise ConfigError(f"{self}: expected token_dropout and average from 0 to below 1, complete from 0 to 1")

    @property
    def used(self) -> tuple[Combination, ...]:
        """The combinations to train, in the order of COMBINATIONS."""
        return combinations_of(layout_of(self.data), ",".join(self.combinations) or None)

    def model_config(self, rows: Rows) -> MCULoRAConfig:
        """The model that fits the set; a modality that it lacks has width 1 and is never used."""
        layout = rows.layout
        present: dict[ModelTask, bool] = {"emotion": bool(layout.emotions), "sentiment": layout.sentiment is not None}
        tasks = tuple(t for t, there in present.items() if there and (not self.tasks or t in self.tasks))
        return sized(
            self.size,
            **{
                "dims": {"audio": 1, "video": 1, "text": 1} | rows.dims,
                "readout": layout.readout,
                "emotions": max(1, len(layout.emotions)),
                "tasks": tasks,
                **self.model,
            },
        )

    def fagm_settings(self) -> FagmSettings | None:
        """None: plain steps."""
        return FagmSettings(gamma=self.fagm_gamma, every=self.fagm) if self.fagm else None

    @property
    def sha16(self) -> str:
        """Names the configuration: first 16 hex digits of the sha256 of its JSON."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def load(path: Path) -> Experiment:
    """Read a TOML file. Raises ConfigError for an unknown key, a wrong value or no file."""
    if not path.is_file():
        raise ConfigError(f"{path} is absent; pipelines/fusion/configs has examples")
    try:
        return of(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error


def of(values: Mapping[str, Any]) -> Experiment:
    """From plain values, as a TOML file or a checkpoint holds them."""
    unknown = set(values) - {f.name for f in dataclasses.fields(Experiment)}
    if unknown or "data" not in values:
        raise ConfigError(f'unknown keys {sorted(unknown)}, or no data = "mosi" | "ravdess" | "meld"')
    return Experiment(**values)
