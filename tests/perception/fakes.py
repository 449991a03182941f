"""A graph made of a function, for encoders without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.runtime.backend import Arrays, TensorSpec, check_inputs

F32 = np.dtype(np.float32)


@dataclass(frozen=True)
class FakeGraph:
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    function: Callable[..., NDArray[Any]]
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"name": "fake"})
    sha256: str = "0123456789abcdef" * 4

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        check_inputs(inputs, self.inputs)
        (name,) = self.outputs
        return {name: self.function(**inputs)}


def audio_graph() -> FakeGraph:
    """Tokens of two values: the first and the last frame's mean."""
    return FakeGraph(
        {"mel": TensorSpec((1, 76, 64), F32)},
        {"token": TensorSpec((1, 2), F32)},
        lambda mel: np.stack([mel[:, 0].mean(1), mel[:, -1].mean(1)], 1),
    )


def pitch_graph() -> FakeGraph:
    """Tokens of two values: the pitch of the newest frame and its strength."""
    return FakeGraph(
        {"mel": TensorSpec((1, 76, 64), F32), "pitch": TensorSpec((1, 76, 2), F32)},
        {"token": TensorSpec((1, 2), F32)},
        lambda mel, pitch: pitch[:, -1],
    )


def activity_graph() -> FakeGraph:
    """Speech where the newest frames are loud."""
    return FakeGraph(
        {"mel": TensorSpec((1, 76, 64), F32)},
        {"speech": TensorSpec((1, 1), F32)},
        lambda mel: np.full((1, 1), mel[:, -10:].max() > -8, np.float32),
    )


def face_graph() -> FakeGraph:
    """Seven values: the brightness of the crop."""
    return FakeGraph(
        {"face": TensorSpec((1, 1, 48, 48), F32)},
        {"posterior": TensorSpec((1, 7), F32)},
        lambda face: np.full((1, 7), face.mean(), np.float32),
    )


def text_graph() -> FakeGraph:
    """Tokens of two values: the id and its mask."""
    return FakeGraph(
        {"ids": TensorSpec((1, 24), np.dtype(np.int64)), "mask": TensorSpec((1, 24), F32)},
        {"tokens": TensorSpec((1, 24, 2), F32)},
        lambda ids, mask: np.stack([ids.astype(np.float32), mask], -1),
    )


def voice_graph() -> FakeGraph:
    """Tokens of two values: the mean of the oldest and of the newest half second."""
    return FakeGraph(
        {"logmel": TensorSpec((1, 200, 80), F32)},
        {"token": TensorSpec((1, 2), F32)},
        lambda logmel: np.stack([logmel[:, :50].mean((1, 2)), logmel[:, -50:].mean((1, 2))], 1),
    )
