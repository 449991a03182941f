"""Streaming transducers (Zipformer and others of k2/icefall) through sherpa-onnx: words come while they are spoken.

Only local files are opened. sherpa-onnx gives the best path alone, so there are no ``alternatives``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ModelError, missing_extra
from edge_mer.contract.raw import SAMPLE_RATE, WordTime

TOKENS: Final = "tokens.txt"
PARTS: Final = ("encoder", "decoder", "joiner")
# The encoder looks ahead: without so much silence behind it, the last word is missing (sherpa-onnx's own examples).
TAIL_S: Final = 0.66
# In the metadata of an encoder; without it, sherpa-onnx 2.0 ends the process.
KIND: Final = b"model_type"
# Tokens that begin a word, as sherpa-onnx gives them and as SentencePiece writes them.
STARTS: Final = (" ", "\u2581")


class SherpaTransducer:
    confidence: float | None = None

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self.begin()

    def begin(self) -> None:
        self._stream = self._recogniser.create_stream()
        self._samples = 0

    def feed(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, np.int16) / np.float32(32_768)
        self._samples += len(samples)
        self._decode(samples)

    def partial(self) -> tuple[WordTime, ...] | None:
        return self._words()

    def end(self) -> tuple[WordTime, ...]:
        self._decode(np.zeros(round(TAIL_S * SAMPLE_RATE), np.float32))
        self._stream.input_finished()
        self._decode(np.empty(0, np.float32))
        words = self._words()
        likely = self._recogniser.ys_probs(self._stream) if words else []
        # Mean probability of a token (geometric); some models give none.
        self.confidence = min(1.0, math.exp(sum(likely) / len(likely))) if likely else None
        return words

    def _decode(self, samples: Any) -> None:
        if len(samples):
            self._stream.accept_waveform(SAMPLE_RATE, samples)
        while self._recogniser.is_ready(self._stream):
            self._recogniser.decode_stream(self._stream)

    def _words(self) -> tuple[WordTime, ...]:
        length_us = self._samples * SECOND // SAMPLE_RATE
        return words_of(self._recogniser.tokens(self._stream), self._recogniser.timestamps(self._stream), length_us)


def words_of(tokens: Sequence[str], times: Sequence[float], length_us: int) -> tuple[WordTime, ...]:
    """Pieces of words and when each begins (s): a word lasts until the next one, the last one until the end.

    Models that write capitals alone are written in lower case.
    """
    words: list[str] = []
    begins: list[int] = []
    for token, time in zip(tokens, times, strict=True):
        if token.startswith(STARTS) or not words:
            words.append("")
            begins.append(min(round(time * SECOND), length_us))
        words[-1] += token.lstrip("".join(STARTS))
    ends = [*begins[1:], length_us][: len(begins)]
    lower = all(word == word.upper() for word in words)
    spoken = zip(words, begins, ends, strict=True)
    return tuple(WordTime(w.lower() if lower else w, a, max(a, b)) for w, a, b in spoken if w)


def files_of(folder: Path) -> dict[str, str]:
    """The files of a transducer: ``tokens`` and the three graphs, in INT8 where there are several. Raises
    ModelError."""
    found = {part: sorted(folder.glob(f"*{part}*.onnx"), key=lambda p: "int8" not in p.name) for part in PARTS}
    found["tokens"] = [p for p in (folder / TOKENS,) if p.is_file()]
    if absent := [name for name, paths in found.items() if not paths]:
        raise ModelError(
            f"text.model {str(folder)!r} has no {', '.join(absent)}; expected a folder with {TOKENS} and a streaming "
            "transducer for sherpa-onnx (encoder, decoder and joiner as .onnx)"
        )
    files = {name: str(paths[0]) for name, paths in found.items()}
    if KIND not in Path(files["encoder"]).read_bytes():
        raise ModelError(
            f"{files['encoder']} does not name its {KIND.decode()}; export it with icefall's export-onnx.py"
        )
    return files


def load(argument: str | None) -> SherpaTransducer:
    """``argument``: the folder of a model. Raises MissingExtra, ModelError."""
    files = files_of(Path(argument or "").expanduser())
    try:
        import sherpa_onnx
    except ImportError as error:
        raise missing_extra("sherpa_onnx", "asr-sherpa") from error
    try:
        recogniser = sherpa_onnx.OnlineRecognizer.from_transducer(**files, num_threads=1, sample_rate=SAMPLE_RATE)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(f"text.model {argument!r} is no streaming transducer for sherpa-onnx ({error})") from error
    return SherpaTransducer(recogniser)
