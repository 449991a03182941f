"""Whisper through faster-whisper (CTranslate2, INT8): it transcribes a whole segment at its end, on one thread.

Only local files are opened. What it writes for segments without speech is left out (Radford et al. 2023, section 4.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from edge_mer.capture.asr.spread_words import spread
from edge_mer.capture.asr.whisper_files import MODELS, find
from edge_mer.capture.asr.whole_segment import WholeSegment
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ModelError, missing_extra
from edge_mer.contract.raw import SAMPLE_RATE, WordTime

DEFAULT: Final = "whisper-tiny.en"
# A segment is not speech: probably none and written with little confidence, or one phrase over and over.
NO_SPEECH, LEAST_LOGPROB, MOST_REPETITION = 0.6, -1.0, 2.4


class Segment(Protocol):
    """A segment of a transcript by faster-whisper; times in seconds."""

    start: float
    end: float
    text: str
    no_speech_prob: float
    avg_logprob: float
    compression_ratio: float


class FasterWhisper(WholeSegment):
    def __init__(self, model: Any, language: str | None = None) -> None:
        super().__init__()
        self._model, self._language = model, language

    def end(self) -> tuple[WordTime, ...]:
        samples = self.samples()
        segments, _ = self._model.transcribe(
            samples,
            beam_size=5,
            temperature=0.0,
            language=self._language if self._model.model.is_multilingual else "en",
            condition_on_previous_text=False,
        )
        kept = list(filter(is_speech, segments))
        self.confidence = confidence(kept)
        return spoken(kept, len(samples) * SECOND // SAMPLE_RATE)


def spoken(segments: Iterable[Segment], length_us: int) -> tuple[WordTime, ...]:
    """The words of the segments that are speech, within ``length_us``."""
    words: list[WordTime] = []
    for s in filter(is_speech, segments):
        start, end = (min(round(t * SECOND), length_us) for t in (s.start, s.end))
        words += spread(s.text, start, end)
    return tuple(words)


def confidence(segments: Sequence[Segment]) -> float | None:
    """Mean probability of a token (geometric) in the least certain segment; None without any."""
    return math.exp(min(s.avg_logprob for s in segments)) if segments else None


def is_speech(segment: Segment) -> bool:
    silent = segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LEAST_LOGPROB
    return not silent and segment.compression_ratio <= MOST_REPETITION


def load(argument: str | None, language: str | None = None) -> FasterWhisper:
    """``argument``: a folder, or one of whisper_files.MODELS; tiny.en if None. ``language``: of what is spoken; found
    out by the model if None. Raises MissingExtra, ModelError."""
    folder = find(argument or DEFAULT)
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise missing_extra("faster_whisper", "asr-faster") from error
    try:
        model: Any = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1, local_files_only=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        names = ", ".join(MODELS)
        raise ModelError(
            f"text.model {argument!r} is no Whisper model for CTranslate2 ({error}); try {names}"
        ) from error
    if language not in (None, "en") and not model.model.is_multilingual:
        raise ModelError(
            f"text.language is {language}, and {argument or DEFAULT} knows English alone; try whisper-base"
        )
    return FasterWhisper(model, language)
