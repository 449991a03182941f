"""The encoder of the toy modality: each value and its change as a token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_mer.contract.messages import Message
from edge_mer.perception.encoder import EncoderSpec, Tokens, one_array
from edge_mer.runtime.backend import Backend
from tests.contract.pulse.rows import RawPulse

DIM, WEIGHTS = 2, "toy pulse"


@dataclass(frozen=True)
class Beat:
    value: float
    origin_us: int


class PulseEncoder:
    spec = EncoderSpec("pulse", "pulse", 1.0, DIM, 0, WEIGHTS)  # type: ignore[arg-type]

    def initial(self) -> float:
        return 0.0

    def step(self, state: float, block: Beat) -> tuple[float, Tokens]:
        at = np.array([block.origin_us], np.int64)
        values = np.array([[block.value / 100, (block.value - state) / 100]], np.float32)
        return block.value, Tokens(values, at, at, np.array([True]))


def open_encoder(backend: Backend, models: Path, yunet: Path | None) -> PulseEncoder:
    return PulseEncoder()


def block(message: Message[RawPulse]) -> Beat:
    return Beat(float(one_array(message.topic, message.payload)[0]), message.envelope.origin_us)
