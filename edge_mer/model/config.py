"""Shapes and sizes of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_mer.domain import EMOTIONS, MODALITIES, Modality
from edge_mer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MCULoRAConfig:
    """Widths of MCULoRA (arXiv 2507.11202); ``dims`` and ``tokens`` are per modality. Raises ConfigError.

    ``rank`` is for the input projections and heads, ``block_rank`` for fc1 and fc2; the scale is alpha / r with
    alpha = r, that is 1.
    """

    dims: Mapping[Modality, int] = field(default_factory=lambda: {"audio": 64, "video": 7, "text": 64})
    tokens: Mapping[Modality, int] = field(default_factory=lambda: {"audio": 32, "video": 20, "text": 24})
    width: int = 64
    blocks: int = 2
    heads: int = 4
    expansion: int = 2
    rank: int = 4
    block_rank: int = 8
    dropout: float = 0.2
    adapter_dropout: float = 0.1
    emotions: int = len(EMOTIONS)

    def __post_init__(self) -> None:
        if set(self.dims) != set(MODALITIES) or set(self.tokens) != set(MODALITIES):
            raise ConfigError(f"dims and tokens must name exactly {', '.join(MODALITIES)}")
        sizes = [self.width, self.blocks, self.heads, self.rank, self.block_rank, self.expansion, self.emotions]
        if min(*sizes, *self.dims.values(), *self.tokens.values()) < 1:
            raise ConfigError(f"every size must be at least 1: {self}")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} must be a multiple of heads {self.heads}")
