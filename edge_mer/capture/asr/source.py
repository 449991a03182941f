"""Recognises the microphone's audio: voice activity detection cuts segments, and a child process that can be killed
decodes them.

At most one segment waits: while one is decoded and another waits, later ones are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_mer.bus import Bus, Reader
from edge_mer.capture.asr.child import BEGIN, END, PIECE, Hypothesis
from edge_mer.capture.asr.guard import doubt, spoken
from edge_mer.capture.asr.segmenter import Begin, Event, SegmentAudio, Segmenter, SegmenterState
from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Message, RawAudio, RawText, WordTime
from edge_mer.contract.overwrite import overwrite
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.contract.recognisers import LEAST_CONFIDENCE, RECOGNISERS

PARENT = "raw/audio"
# One being decoded, one waiting.
MOST_OUTSTANDING = 2
QUIET_US = 2 * SECOND
# Without sound for so long, the open segment is over: the clip ended, or the microphone was lost.
ENDED_US = SECOND // 2
RETRY_US = 5 * SECOND


class RecogniserProcess(Protocol):
    """The interface of AsrProcess; tests use a fake."""

    @property
    def alive(self) -> bool: ...

    @property
    def wake(self) -> int: ...

    def send(self, order: int, segment: int, pcm: bytes = b"") -> bool: ...

    def receive(self) -> list[Hypothesis]: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class _Outstanding:
    """A segment without a final result yet; ``published``: some of its words were published; ``voiced``: its chunks
    with speech, once it is over."""

    origin_us: int
    published: bool = False
    voiced: int = 0


class AsrTranscript:
    """A device whose blocks are growing segments. ``counters``: segments ``dropped``, children ``died``, segments
    whose words are not taken for spoken (``doubted``)."""

    interval_us: int | None = None

    def __init__(self, bus: Bus, engine: str, start: Callable[[], RecogniserProcess], segmenter: Segmenter) -> None:
        self.name = engine
        row = RECOGNISERS.get(engine)
        self._least = LEAST_CONFIDENCE if row is None else row.least_confidence
        self.counters: Counter[str] = Counter()
        self._bus, self._start, self._segmenter = bus, start, segmenter
        self._reader: Reader | None = None
        self._audio_epoch = 0
        self._child: RecogniserProcess | None = None
        self._ending: list[RecogniserProcess] = []
        self._state: SegmenterState = segmenter.initial()
        self._expected: tuple[str, int, int] | None = None
        self._outstanding: dict[int, _Outstanding] = {}
        self._segment = 0
        self._open_segment: int | None = None
        self._error: str | None = None
        self._last_audio_us = self._retry_us = 0

    @property
    def fault(self) -> Fault | None:
        if self._error is not None:
            return Fault("failed", self._error)
        if self._bus.clock.now_us() - self._last_audio_us >= QUIET_US:
            return Fault("absent", "no audio arrives on raw/audio")
        return None

    @property
    def closed(self) -> bool:
        return self._reader is None and self.purged

    @property
    def purged(self) -> bool:
        """Measured: no child that received audio before the last ``purge`` is alive."""
        self._ending = [child for child in self._ending if child.alive]
        return not self._ending

    @property
    def wake(self) -> tuple[int, ...]:
        return () if self._child is None else (self._child.wake,)

    def open(self) -> None:
        self._reader = self._bus.reader(PARENT)
        self._reader.require_epoch("audio", self._audio_epoch)
        self._last_audio_us = self._bus.clock.now_us()

    def abort(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._reset()

    def release(self) -> Release:
        alive = ("a recogniser's process",) if not self.purged or self._child is not None else ()
        return Release(alive, not self.read(), "recogniser's process")

    def join(self, timeout_s: float) -> bool:
        return self.closed

    def purge(self, audio_epoch: int) -> None:
        """The microphone was masked: kill the child, and drop all audio from before ``audio_epoch``."""
        self._audio_epoch = max(self._audio_epoch, audio_epoch)
        if self._reader is not None:
            self._reader.require_epoch("audio", self._audio_epoch)
        self._reset()

    def read(self) -> list[Captured]:
        if self._reader is None:
            return []
        for message in self._reader.drain():
            self._process(message)
        if self._open_segment is not None and self.due_us() == 0:
            self._end(self._state.voiced)
            self._state = self._segmenter.initial()
        return self._received_words()

    def due_us(self) -> int:
        """Time until the open segment ends for want of sound; a second when none is open."""
        if self._open_segment is None:
            return SECOND
        return max(0, self._last_audio_us + ENDED_US - self._bus.clock.now_us())

    # -- audio in ----------------------------------------------------------------------------------------------

    def _process(self, message: Message[RawAudio]) -> None:
        body, samples = message.body, message.payload[0] if message.payload else None
        if samples is None or samples.ndim != 1 or samples.dtype.name != "int16" or body.rate != SAMPLE_RATE:
            self.counters["bad"] += 1
            return
        self._last_audio_us = self._bus.clock.now_us()
        self._follow(message.envelope.boot, body, len(samples))
        self._ensure_child()
        self._state, events = self._segmenter.step(self._state, message.envelope.origin_us, samples)
        for event in events:
            self._handle(event)

    def _follow(self, boot: str, body: RawAudio, count: int) -> None:
        """End the segment at a gap in the audio; after a mask, discard everything from before it."""
        here = (boot, body.mask_epoch, body.sample_index)
        if self._expected is not None and here != self._expected:
            if here[1] != self._expected[1]:
                self._reset()
            elif self._open_segment is not None:
                self._end(self._state.voiced)
            self._state = self._segmenter.initial()
        self._expected = (boot, body.mask_epoch, body.sample_index + count)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Begin):
            self._begin(event.origin_us)
        elif self._open_segment is None:
            return
        elif isinstance(event, SegmentAudio):
            self._send(PIECE, event.samples.tobytes())
        else:
            self._end(event.voiced)

    def _end(self, voiced: int) -> None:
        assert self._open_segment is not None
        if (segment := self._outstanding.get(self._open_segment)) is not None:
            segment.voiced = voiced
        self._send(END)
        self._open_segment = None

    def _begin(self, origin_us: int) -> None:
        if self._child is None or len(self._outstanding) >= MOST_OUTSTANDING:
            self.counters["dropped"] += 1
            return
        self._segment += 1
        self._open_segment = self._segment
        self._outstanding[self._segment] = _Outstanding(origin_us)
        self._send(BEGIN)

    def _send(self, order: int, pcm: bytes = b"") -> None:
        assert self._open_segment is not None
        if self._child is not None and not self._child.send(order, self._open_segment, pcm):
            self._child_failed("the recogniser accepts no more audio")

    # -- words out ---------------------------------------------------------------------------------------------

    def _received_words(self) -> list[Captured]:
        if self._child is None:
            return []
        captured = [c for hypothesis in self._child.receive() if (c := self._captured(hypothesis)) is not None]
        if not self._child.alive:
            self._child_failed(self._error or "the recogniser's process ended")
        return captured

    def _captured(self, hypothesis: Hypothesis) -> Captured | None:
        if hypothesis.error is not None:
            self._error = hypothesis.error
        segment = self._outstanding.get(hypothesis.segment)
        if segment is None:
            return None
        if hypothesis.final:
            del self._outstanding[hypothesis.segment]
            if hypothesis.error is None:
                self._error = None
            elif hypothesis.segment == self._open_segment:
                self._open_segment = None
        words = spoken(hypothesis.words)
        if hypothesis.final and words:
            reason = doubt(" ".join(w.text for w in words), segment.voiced, hypothesis.confidence, self._least)
            self.counters["doubted"] += reason is not None
            words = words if reason is None else ()
        if not (words or segment.published):
            return None
        segment.published = True
        body = RawText(
            segment=hypothesis.segment,
            words=_shifted(words, segment.origin_us),
            final=hypothesis.final,
            parent=PARENT,
            engine=self.name,
            mask_epoch=0,
            confidence=hypothesis.confidence,
            provisional=not hypothesis.final,
            alternatives=hypothesis.alternatives if words else (),
        )
        return Captured(segment.origin_us, self._bus.clock.now_us(), body)

    # -- the child ---------------------------------------------------------------------------------------------

    def _ensure_child(self) -> None:
        """Started with the first audio: it loads its model while the first words are spoken."""
        if self._child is None and self._bus.clock.now_us() >= self._retry_us:
            self._child = self._start()

    def _child_failed(self, reason: str) -> None:
        self.counters["died"] += 1
        self.counters["dropped"] += len(self._outstanding)
        errors = [h.error for h in self._child.receive() if h.error] if self._child is not None else []
        self._error = errors[-1] if errors else reason
        self._retry_us = self._bus.clock.now_us() + RETRY_US
        self._stop()

    def _reset(self) -> None:
        self._stop()
        fresh = self._segmenter.initial()
        overwrite(self._state, keep=fresh)
        self._state, self._expected, self._error = fresh, None, None

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._ending.append(self._child)
            self._child = None
        self._outstanding.clear()
        self._open_segment = None


def _shifted(words: tuple[WordTime, ...], by_us: int) -> tuple[WordTime, ...]:
    return tuple(WordTime(w.text, w.start_us + by_us, w.end_us + by_us, w.approx) for w in words)
