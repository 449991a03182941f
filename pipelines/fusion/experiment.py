"""One training of MCULoRA, as a TOML file describes it: ``python -m pipelines.train CONFIG.toml``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from edge_mer.contract.domain import Combination
from edge_mer.contract.errors import ConfigError
from edge_mer.model.config import MCULoRAConfig, Size, sized
from edge_mer.model.config import Task as ModelTask
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FEATURE_SPECS, combinations_of, layout_of
from pipelines.fusion.fagm import FagmSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Keep = Literal["best", "last"]
T = TypeVar("T")
CONFIGS: Final = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class StarterSettings:
    """How ``data = "starter"`` makes its training windows. Raises ConfigError."""

    steps: int = 150
    """Batches of an epoch."""
    clip_copies: int = 4
    """Augmented copies of each RAVDESS clip."""
    face_stride: int = 3
    """Every so many FER2013 faces are read."""
    face_frames: int = 10
    """Tokens of the short clip that is made of one face."""
    text_stride: int = 1
    """Every so many train texts are read."""
    calibration_stride: int = 6
    """The sentiment is calibrated at the end on every so many train texts; 0: not at all."""
    paired: float = 0.0
    """How often voice and face of a window are of two people with the same label."""
    plain: float = 0.0
    """How often the words beside a voice or a face are neutral, whatever is expressed."""

    def __post_init__(self) -> None:
        least = (self.steps, self.clip_copies, self.face_stride, self.face_frames, self.text_stride)
        if (
            min(least) < 1
            or self.calibration_stride < 0
            or not 0 <= min(self.paired, self.plain) <= max(self.paired, self.plain) <= 1
        ):
            raise ConfigError(f"{self}: expected calibration_stride >= 0, paired and plain from 0 to 1, others >= 1")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that decides the result of a training. Raises ConfigError."""

    data: str
    """The set, a key of FEATURE_SPECS."""
    seed: int = 0
    """Decides the initial weights and every random draw."""
    size: Size = "small"
    """The widths that ``model`` changes."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Changes to MCULoRAConfig."""
    epochs: tuple[int, int, int] = (12, 12, 0)
    """Epochs of stage 0 (base), 1 (adapters) and 2 (self-distillation)."""
    rates: tuple[float, float] = (1e-3, 1e-3)
    """Learning rates of the base and of the adapters."""
    warm_up: float = 0.4
    """Epochs of each stage over which its rate rises."""
    last_rate: float = 0.04
    """Share of the rate at the end of a stage, to which a cosine falls."""
    batch: int = 32
    """Samples of a batch, over all processes: neither the result nor the rates depend on how many there are."""
    bucket: int = 1
    """Batches whose samples are sorted by length together, so that dialogues of like length meet; 1: none."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step of the optimizer."""
    patience: int = 0
    """A stage ends after so many epochs without a better one on the validation rows; 0: it never ends early."""
    weight_decay: float = 1e-2
    """AdamW's, of all but the adapters."""
    scale: bool = True
    """Inputs are standardised with the mean and deviation of the train rows, which the checkpoint keeps."""
    token_dropout: float = 0.3
    """Most of the tokens that a sample loses; of the features, where a modality is one vector."""
    noise: float = 0.1
    """Noise on the inputs, in deviations of each feature."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018); 0: none."""
    complete: float = 0.3
    """Least share of the full combination in stage 0; the others are drawn evenly."""
    ortho: float = 0.1
    """Weight of L_ort."""
    balance: float = 0.01
    """Weight of L_bal."""
    distill: float = 0.2
    """Weight of self-distillation in stage 2."""
    smoothing: float = 0.1
    """Label smoothing of the emotion loss."""
    average: float = 0.0
    """Share that the running average of the weights keeps at each step; it is what is validated and kept. 0: none."""
    keep: Keep = "best"
    """Of each stage the epoch that does best on the validation rows, or, where those are few, the last."""
    dpft: bool = True
    """Stages 1 and 2 draw the combinations by DPFT, else evenly."""
    dpft_from: int = 3
    """First epoch of a stage after which DPFT changes the shares."""
    fagm: int = 4
    """Steps between FAGM's measurements; 0: plain steps."""
    fagm_gamma: float = 0.5
    """Above 0.5 FAGM slows the dominant modality less."""
    combinations: tuple[Combination, ...] = ()
    """Those that are trained; none named: all of the set."""
    tasks: tuple[ModelTask, ...] = ()
    """Those that are trained; none named: all of the set."""
    precision: str = "32-true"
    """Fabric's."""
    starter: StarterSettings = field(default_factory=StarterSettings)
    """Read by ``data = "starter"`` only."""

    def __post_init__(self) -> None:
        layout = layout_of(self.data)
        for name in ("epochs", "rates", "combinations", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        combinations_of(layout, ",".join(self.combinations) or None)
        if len(self.epochs) != 3 or min(self.epochs) < 0 or sum(self.epochs) < 1 or len(self.rates) != 2:
            raise ConfigError(f"epochs {self.epochs} must be three counts with a sum above 0, rates {self.rates} two")
        if min(self.batch, self.bucket, self.accumulate) < 1 or self.patience < 0 or min(self.rates) <= 0:
            raise ConfigError(f"{self}: expected batch, bucket and accumulate >= 1, patience >= 0, rates > 0")
        if self.patience and self.keep != "best":
            raise ConfigError(f'patience {self.patience} needs keep = "best"; keep = "last" has no better epoch')
        if self.keep not in get_args(Keep):
            raise ConfigError(f"keep {self.keep!r} must be one of {', '.join(get_args(Keep))}")
        if not (0 <= self.token_dropout < 1 and 0 <= self.average < 1 and 0 <= self.complete <= 1):
            raise ConfigError(f"{self}: expected token_dropout and average from 0 to below 1, complete from 0 to 1")
        if self.warm_up < 0 or not 0 <= self.last_rate <= 1:
            raise ConfigError(f"{self}: expected warm_up >= 0, last_rate from 0 to 1")
        if layout.drawn and (self.mixup or self.epochs[2]):
            raise ConfigError(f'data = "{self.data}" has neither mixup nor a stage of self-distillation; set both to 0')

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
                **({"tokens": rows.lengths} if layout.drawn else {}),
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
        raise ConfigError(f"{path} is absent; {CONFIGS} has examples")
    try:
        return of(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error


def of(values: Mapping[str, Any]) -> Experiment:
    """From plain values, as a TOML file or a checkpoint holds them. Raises ConfigError."""
    if "data" not in values:
        raise ConfigError(f"no data; expected data = one of {', '.join(FEATURE_SPECS)}")
    starter = values.get("starter", {})
    return _filled(Experiment, {**values, "starter": _filled(StarterSettings, starter, "starter.")})


def _filled(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"unknown keys {', '.join(prefix + k for k in unknown)}; expected some of {', '.join(known)}")
    return kind(**values)
