"""PocketSphinx with the small English model of its wheel: offline, about 0.2 x real time on one core, high word error
rate.
"""

from __future__ import annotations

import math
from typing import Any

from edge_mer.contract.errors import missing_extra
from edge_mer.contract.raw import SAMPLE_RATE, WordTime

FRAME_US = 10_000
# Words that stand for silence, noise and breath begin with one of these.
FILLERS = "<[+"
LEAST_PROBABILITY = 1e-6


class PocketSphinx:
    confidence: float | None = None

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def begin(self) -> None:
        self._decoder.start_utt()

    def feed(self, pcm: bytes) -> None:
        self._decoder.process_raw(pcm, False, False)

    def partial(self) -> tuple[WordTime, ...] | None:
        return self._words()

    def end(self) -> tuple[WordTime, ...]:
        self._decoder.end_utt()
        words = self._words()
        self.confidence = self._confidence() if words else None
        return words

    def _confidence(self) -> float:
        """Mean probability of a word (geometric) among the alternatives of the lattice."""
        likely = [max(s.prob, LEAST_PROBABILITY) for s in self._decoder.seg() if s.word[0] not in FILLERS]
        return min(1.0, math.exp(sum(map(math.log, likely)) / len(likely)))

    def _words(self) -> tuple[WordTime, ...]:
        if self._decoder.hyp() is None:
            return ()
        return tuple(
            WordTime(_spelling(s.word), s.start_frame * FRAME_US, (s.end_frame + 1) * FRAME_US)
            for s in self._decoder.seg()
            if s.word[0] not in FILLERS
        )


def _spelling(entry: str) -> str:
    """``a(2)`` is the second pronunciation of ``a``."""
    return entry.partition("(")[0]


def load(argument: str | None) -> PocketSphinx:
    """``argument`` is not used: the model is in the wheel."""
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise missing_extra("pocketsphinx", "asr-lite") from error
    return PocketSphinx(Decoder(samprate=SAMPLE_RATE, loglevel="FATAL"))
