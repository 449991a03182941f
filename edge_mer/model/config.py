"""Shapes, sizes and switches of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from edge_mer.contract.domain import EMOTIONS, MODALITIES, Modality
from edge_mer.contract.errors import ConfigError

Task = Literal["emotion", "sentiment"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
ReadoutKind = Literal["window", "dialogue"]
PoolKind = Literal["joint", "each", "adaptive"]
Size = Literal["small", "paper"]


@dataclass(frozen=True, slots=True)
class MCULoRAConfig:
    """Widths and switches of MCULoRA with MMoLRE experts (arXiv 2507.11202, 2505.14143). Raises ConfigError.

    ``dims`` and ``tokens`` are per modality; ``tokens`` matters to exports only, any length can be trained.
    ``rank`` is for the input projections and heads, ``block_rank`` for fc1 and fc2; the scale is alpha / r with
    alpha = r, that is 1.

    Switches of the ablations: ``adapters`` (False: plain linear layers), ``shared_pair`` (False: only the pairs
    of the combinations), ``experts`` (False: hard sharing, one always active expert of the same total rank for all
    tasks), ``tasks`` (one name: single task). ``readout``: one estimate per window, or per utterance of a dialogue.
    ``pool``: one mean over the tokens of all modalities, or one of each modality, added up or weighted by the task.
    """

    dims: Mapping[Modality, int] = field(default_factory=lambda: {"audio": 64, "video": 7, "text": 64})
    tokens: Mapping[Modality, int] = field(default_factory=lambda: {"audio": 32, "video": 20, "text": 24})
    readout: ReadoutKind = "window"
    pool: PoolKind = "joint"
    tasks: tuple[Task, ...] = TASKS
    emotions: int = len(EMOTIONS)
    width: int = 64
    blocks: int = 2
    heads: int = 4
    expansion: int = 2
    rank: int = 4
    block_rank: int = 8
    expert_blocks: int = 2
    expert_ranks: tuple[int, ...] = (4, 8, 8, 16)
    task_rank: int = 8
    top: int = 2
    dropout: float = 0.2
    adapter_dropout: float = 0.1
    gate_noise: float = 0.1
    adapters: bool = True
    shared_pair: bool = True
    experts: bool = True

    def __post_init__(self) -> None:
        for name in ("tasks", "expert_ranks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if set(self.dims) != set(MODALITIES) or set(self.tokens) != set(MODALITIES):
            raise ConfigError(f"dims and tokens must name exactly {', '.join(MODALITIES)}")
        sizes = [self.width, self.blocks, self.heads, self.rank, self.block_rank, self.expansion, self.emotions]
        sizes += [self.task_rank, self.top, *self.expert_ranks, *self.dims.values(), *self.tokens.values()]
        if min(sizes) < 1 or self.expert_blocks < 0:
            raise ConfigError(f"every size must be at least 1: {self}")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.top > len(self.expert_ranks):
            raise ConfigError(f"top {self.top} exceeds the {len(self.expert_ranks)} shared experts of expert_ranks")
        if not self.tasks or not set(self.tasks) <= set(TASKS) or len(set(self.tasks)) < len(self.tasks):
            raise ConfigError(f"tasks {self.tasks} must be one or both of {', '.join(TASKS)}")
        for name, kind in (("readout", ReadoutKind), ("pool", PoolKind)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} {getattr(self, name)!r} must be one of {', '.join(get_args(kind))}")


# ALGORITHMS.md 5.1: the widths of the papers' features, about 7.5 M parameters.
_SIZES: Final[Mapping[Size, Mapping[str, Any]]] = {
    "small": {},
    "paper": {
        "dims": {"audio": 512, "video": 1024, "text": 1024},
        "width": 256,
        "blocks": 4,
        "heads": 2,
        "expansion": 1,
        "expert_ranks": (8, 16, 32, 64),
        "task_rank": 32,
        "dropout": 0.3,
    },
}


def sized(size: Size, **changes: Any) -> MCULoRAConfig:
    """The configuration of one size, with changes. Raises ConfigError."""
    if size not in _SIZES:
        raise ConfigError(f"size {size!r} must be one of {', '.join(_SIZES)}")
    return MCULoRAConfig(**{**_SIZES[size], **changes})
