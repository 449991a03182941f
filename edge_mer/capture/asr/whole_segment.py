"""What recognisers share that transcribe a segment once it has ended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.raw import WordTime


class WholeSegment:
    """Keeps the PCM of one segment; a subclass adds ``end``, which sets ``confidence``."""

    confidence: float | None = None

    def __init__(self) -> None:
        self._pcm = bytearray()

    def begin(self) -> None:
        self._pcm.clear()

    def feed(self, pcm: bytes) -> None:
        self._pcm += pcm

    def partial(self) -> tuple[WordTime, ...] | None:
        return None

    def samples(self) -> NDArray[np.float32]:
        """The segment as float32 [n] in [-1, 1], at 16 kHz."""
        pcm = np.frombuffer(bytes(self._pcm), np.int16)
        return np.asarray(pcm / np.float32(32_768), np.float32)
