"""Loudness of the voice beside the tokens of an audio encoder, so that fusion can tell whose mouth moves with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.people import VoiceCurve
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, Encoder, EncoderSpec, Tokens, named

STEP_US: Final = 25_000
STEP: Final = SAMPLE_RATE * STEP_US // 1_000_000
# Longer than any encoder holds samples back.
KEPT: Final = 2 * SAMPLE_RATE
LEAST_DB: Final = -100

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LoudnessState:
    """``encoder``: of the encoder within; ``samples``: the newest, which end at ``end_us``."""

    encoder: Any
    samples: Samples
    end_us: int = 0


class LoudnessEncoder:
    """``encoder`` with the loudness of every token that it gives, where ``people`` are followed."""

    def __init__(self, encoder: Encoder[Any, AudioBlock], people: int) -> None:
        self._encoder = encoder
        self.spec: EncoderSpec = replace(encoder.spec, name=named(encoder.spec.name, people))

    def initial(self) -> LoudnessState:
        return LoudnessState(self._encoder.initial(), np.zeros(0, np.float32))

    def step(self, state: LoudnessState, block: AudioBlock) -> tuple[LoudnessState, Tokens]:
        inner, tokens = self._encoder.step(state.encoder, block)
        samples = np.concatenate([state.samples, block.samples])[-KEPT:]
        end_us = block.origin_us + len(block.samples) * 1_000_000 // SAMPLE_RATE
        if len(tokens):
            tokens = replace(tokens, voice=curve(samples, end_us, tokens))
        return LoudnessState(inner, samples, end_us), tokens


def curve(samples: Samples, end_us: int, tokens: Tokens) -> VoiceCurve:
    """Level of each 25 ms from the first to the last of ``tokens``; null in those that hold no voice."""
    begin, end = int(tokens.start_us[0]), int(tokens.end_us[-1])
    levels: list[int | None] = []
    for at in range(begin, end - STEP_US + 1, STEP_US):
        last = len(samples) - (end_us - at) * SAMPLE_RATE // 1_000_000 + STEP
        part = samples[max(0, last - STEP) : max(0, last)]
        of = int(np.searchsorted(tokens.end_us, at, side="right"))
        levels.append(level_db(part) if len(part) and tokens.valid[of] else None)
    return VoiceCurve(begin, STEP_US, tuple(levels))


def level_db(sound: Samples) -> int:
    """Mean power in dB below full scale, rounded to 1 dB; -100 at the least."""
    return max(LEAST_DB, round(10 * float(np.log10(np.square(sound).mean() + 1e-12))))
