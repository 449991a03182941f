"""Voice activity detection cuts audio into segments for a recogniser: a fold over chunks of 512 samples at 16 kHz.

The same audio gives the same segments, however its samples are split into calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.clock import SECOND
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.perception.speech import SpeechDetector

CHUNK = 512

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """Speech begins after ``speech_chunks`` with probability ``start`` or more, and ends after ``silence_chunks``
    below ``stop``. ``before_chunks`` before its beginning belong to the segment; after ``longest_chunks`` it is cut.
    """

    start: float = 0.5
    stop: float = 0.35
    speech_chunks: int = 3
    silence_chunks: int = 16
    before_chunks: int = 8
    longest_chunks: int = 250


@dataclass(frozen=True, slots=True)
class Begin:
    """A segment begins; ``origin_us`` is the time of its first sample."""

    origin_us: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentAudio:
    """int16 [512] of the segment that is open."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class End:
    """``cut``: the segment reached the longest length, and the next one follows directly. ``voiced``: its chunks that
    hold speech."""

    cut: bool
    voiced: int = 0


Event = Begin | SegmentAudio | End


@dataclass(frozen=True, slots=True, eq=False)
class SegmenterState:
    """``length`` counts the chunks of the open segment, 0 outside, ``voiced`` those with speech; ``run`` the voiced
    (outside) or silent (inside) at its end."""

    detector: Any
    rest: Samples
    recent: tuple[tuple[int, Samples], ...] = ()
    length: int = 0
    voiced: int = 0
    run: int = 0


class Segmenter:
    """``step(state, origin_us, samples)`` takes any number of samples; after a gap, start from ``initial``."""

    def __init__(self, detector: SpeechDetector, settings: SegmenterSettings | None = None) -> None:
        self._detector, self._settings = detector, settings or SegmenterSettings()

    def initial(self) -> SegmenterState:
        return SegmenterState(self._detector.initial(), np.empty(0, np.int16))

    def step(self, state: SegmenterState, origin_us: int, samples: Samples) -> tuple[SegmenterState, tuple[Event, ...]]:
        """``origin_us``: time of the first of ``samples`` int16 [n], which follow the previous call without a gap."""
        begin_us = origin_us - len(state.rest) * SECOND // SAMPLE_RATE
        joined = np.concatenate([state.rest, samples])
        whole = len(joined) // CHUNK
        events: list[Event] = []
        for index in range(whole):
            chunk = joined[index * CHUNK : (index + 1) * CHUNK]
            detector, speech = self._detector.step(state.detector, chunk.astype(np.float32) / np.float32(32_768))
            state = replace(state, detector=detector)
            state, found = self._chunk(state, begin_us + index * CHUNK * SECOND // SAMPLE_RATE, chunk, speech)
            events += found
        return replace(state, rest=joined[whole * CHUNK :]), tuple(events)

    def _chunk(
        self, state: SegmenterState, origin_us: int, chunk: Samples, speech: float
    ) -> tuple[SegmenterState, list[Event]]:
        return (self._inside if state.length else self._outside)(state, origin_us, chunk, speech)

    def _outside(
        self, state: SegmenterState, origin_us: int, chunk: Samples, speech: float
    ) -> tuple[SegmenterState, list[Event]]:
        s = self._settings
        run = state.run + 1 if speech >= s.start else 0
        recent = (*state.recent, (origin_us, chunk))[-(s.before_chunks + s.speech_chunks) :]
        if run < s.speech_chunks:
            return replace(state, run=run, recent=recent), []
        events: list[Event] = [Begin(recent[0][0]), *(SegmentAudio(samples) for _, samples in recent)]
        return replace(state, run=0, recent=(), length=len(recent), voiced=run), events

    def _inside(
        self, state: SegmenterState, origin_us: int, chunk: Samples, speech: float
    ) -> tuple[SegmenterState, list[Event]]:
        s = self._settings
        before, run = state, state.run + 1 if speech < s.stop else 0
        full = state.length >= s.longest_chunks
        voiced = int(speech >= s.start)
        piece: list[Event] = [SegmentAudio(chunk)]
        if run >= s.silence_chunks:
            return replace(state, run=0, length=0), [*([] if full else piece), End(False, state.voiced)]
        if full:
            state = replace(state, run=run, length=1, voiced=voiced)
            return state, [End(True, before.voiced), Begin(origin_us), *piece]
        return replace(state, run=run, length=state.length + 1, voiced=state.voiced + voiced), piece
