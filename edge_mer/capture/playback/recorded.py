"""A recorded transcript: words with their times, played as if transcribed while the file plays.

The file (JSON): ``{"schema": "edge_mer.transcript/1", "duration_s": 24.8, "segments": [{"words": [["hello", 0.2, 0.6],
...]}, ...]}``. A word is text, start and end in seconds from the start of the media. ``duration_s`` is the
duration of the media. Segments are sentences or similar units, in order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.capture.playback.timeline import Playback
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import RawText, WordTime

END = "end of the transcript"
FOREVER_US = 3600 * SECOND


class _Segment(Struct, forbid_unknown_fields=True):
    words: tuple[tuple[str, float, float], ...]


class _File(Struct, forbid_unknown_fields=True):
    segments: tuple[_Segment, ...]
    duration_s: float
    schema: Literal["edge_mer.transcript/1"] = "edge_mer.transcript/1"


@dataclass(frozen=True, slots=True)
class Transcript:
    """Times in ``segments`` are us from the start of the media."""

    name: str
    segments: tuple[tuple[WordTime, ...], ...]
    duration_us: int


def read_transcript(path: str | None) -> Transcript:
    """Raises ConfigError naming the file and the error."""
    if path is None:
        raise ConfigError("text.path is not set: name the recorded transcript (JSON)")
    try:
        parsed = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    words = [word for segment in parsed.segments for word in segment.words]
    for text, start, end in words:
        if not 0 <= start <= end <= parsed.duration_s:
            raise ConfigError(f"{path}: word {text!r} at {start}..{end} s is not within 0..{parsed.duration_s} s")
    for before, after in pairwise(words):
        if after[1] < before[1]:
            raise ConfigError(f"{path}: word {after[0]!r} at {after[1]} s starts before the word that it follows")
    segments = tuple(
        tuple(WordTime(text, round(start * SECOND), round(end * SECOND)) for text, start, end in segment.words)
        for segment in parsed.segments
    )
    return Transcript(Path(path).name, tuple(s for s in segments if s), round(parsed.duration_s * SECOND))


@dataclass(frozen=True, slots=True)
class _Step:
    """At ``at_us`` of the media, the first ``words`` words of ``segment`` are complete."""

    at_us: int
    segment: int
    words: int


class RecordedTranscript:
    """Publishes each word when it ends, as a growing segment, and the last word of a segment with ``final``.

    Words that began while the gate was closed are left out.
    """

    interval_us: int | None = None
    wake: tuple[int, ...] = ()

    def __init__(self, transcript: Transcript, playback: Playback) -> None:
        self.name = transcript.name
        self.counters: Counter[str] = Counter()
        self._transcript, self._playback = transcript, playback
        self._steps = tuple(
            _Step(word.end_us, index, count + 1)
            for index, words in enumerate(transcript.segments)
            for count, word in enumerate(words)
        )
        self._lap = self._next = 0
        self._open_us: int | None = None

    @property
    def fault(self) -> Fault | None:
        return Fault("absent", END) if self._open_us is not None and not self.playing else None

    @property
    def closed(self) -> bool:
        return self._open_us is None

    @property
    def playing(self) -> bool:
        """Whether another word follows."""
        return self._open_us is not None and self._next < len(self._steps)

    def open(self) -> None:
        self._playback.begin()
        self._open_us = self._playback.position_us()
        self._lap, lap_us = self._playback.lap_of(self._open_us)
        self._next = sum(lap_us + step.at_us <= self._open_us for step in self._steps)
        self._wrap()

    def abort(self) -> None:
        self._open_us = None

    def release(self) -> Release:
        return Release((), not self.read(), "handle: its words are read once, at the start")

    def join(self, timeout_s: float) -> bool:
        return True

    def read(self) -> list[Captured]:
        blocks: list[Captured] = []
        while self.playing and self.due_us() == 0:
            captured = self._captured(self._steps[self._next])
            if captured is not None:
                blocks.append(captured)
            self._next += 1
            self._wrap()
        return blocks

    def due_us(self) -> int:
        """Time until the next word is complete."""
        if not self.playing:
            return FOREVER_US
        due = self._playback.begin() + self._lap_us + self._steps[self._next].at_us
        return max(0, due - self._playback.clock.now_us())

    @property
    def _lap_us(self) -> int:
        return self._lap * (self._playback.period_us or 0)

    def _wrap(self) -> None:
        if self._next == len(self._steps) and self._playback.period_us is not None and self._steps:
            self._lap, self._next = self._lap + 1, 0

    def _captured(self, step: _Step) -> Captured | None:
        words = self._transcript.segments[step.segment]
        zero = self._playback.begin() + self._lap_us
        audible = tuple(
            WordTime(w.text, zero + w.start_us, zero + w.end_us)
            for w in words[: step.words]
            if self._open_us is not None and self._lap_us + w.start_us >= self._open_us
        )
        if not audible:
            return None
        body = RawText(
            segment=self._lap * len(self._transcript.segments) + step.segment,
            words=audible,
            final=step.words == len(words),
            parent=None,
            engine="recorded",
            mask_epoch=0,
        )
        return Captured(audible[0].start_us, self._playback.clock.now_us(), body)
