"""PocketSphinx with the small English model of its wheel: offline, about 0.2 x real time on one core, high word error
rate.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from edge_mer.contract.errors import missing_extra
from edge_mer.contract.raw import SAMPLE_RATE, WordTime

FRAME_US = 10_000
# Words that stand for silence, noise and breath begin with one of these.
FILLERS = "<[+"
LEAST_PROBABILITY = 1e-6
# Paths of the lattice that are looked at for alternatives.
PATHS = 20


class PocketSphinx:
    confidence: float | None = None
    alternatives: tuple[str, ...] = ()

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
        self.alternatives = self._alternatives() if words else ()
        return words

    def _alternatives(self) -> tuple[str, ...]:
        """Other paths through the lattice; paths that differ in fillers alone count once."""
        best = plain(self._decoder.hyp().hypstr)
        paths = islice(self._decoder.nbest() or (), PATHS)
        found = dict.fromkeys(plain(p.hypstr) for p in paths if p is not None)
        return tuple(text for text in found if text and text != best)

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


def plain(text: str) -> str:
    """A path as the words alone."""
    return " ".join(_spelling(word) for word in text.split() if word[0] not in FILLERS)


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
