"""Text encoder: sub-words of one transcript segment, word by word, so that each has its word's time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError, ModelError
from edge_mer.perception.encoder import EncoderSpec, TextSegment, Tokens, Word
from edge_mer.runtime.backend import Graph, origin

# No real word is longer; the cut bounds the time that garbage can take.
LONGEST_WORD: Final = 64
RATE_HZ: Final = 6.0


class Tokenizer(Protocol):
    """Maps one word to sub-word ids in [0, vocabulary size)."""

    def __call__(self, word: str) -> list[int]: ...


class SentencePiece:
    """Unigram sub-words (Kudo 2018), NFKC and lower case. Raises ModelError when the file is not usable."""

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._processor = SentencePieceProcessor(model_proto=path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{path}: not a usable sentencepiece model; run: edge-mer models check") from error

    def __call__(self, word: str) -> list[int]:
        ids: list[int] = self._processor.encode(word)
        return ids

    def __len__(self) -> int:
        return int(self._processor.vocab_size())


class TextEncoder:
    """Encodes the newest sub-words of a segment: ``ids`` int64 [1, T], ``mask`` [1, T] -> ``tokens`` [1, T, dim].

    The fold keeps no state: a later block of the same segment replaces the earlier one as a whole.
    """

    def __init__(self, graph: Graph, tokenizer: Tokenizer) -> None:
        self._graph, self.tokenizer = graph, tokenizer
        _, self._length, dim = graph.outputs["tokens"].shape
        self.spec = EncoderSpec(
            name=str(graph.metadata.get("name", "text")),
            modality="text",
            rate_hz=RATE_HZ,
            dim=dim,
            latency_us=0,
            model=origin(graph)[:16],
        )

    def initial(self) -> None:
        return None

    def step(self, state: None, block: TextSegment) -> tuple[None, Tokens]:
        """All tokens of the segment, at most the newest T sub-words, in the order of its words."""
        pieces = self._newest_pieces(block.words)
        n = len(pieces)
        values = self._graph.run(self._inputs(pieces))["tokens"][0, self._length - n :]
        return None, Tokens(
            values=values,
            start_us=np.array([word.start_us for _, word in pieces], np.int64),
            end_us=np.array([word.end_us for _, word in pieces], np.int64),
            valid=np.ones(n, np.bool_),
            context=block.segment,
        )

    def inputs(self, block: TextSegment) -> dict[str, NDArray[Any]]:
        """What the graph is given for ``block``."""
        return self._inputs(self._newest_pieces(block.words))

    def _inputs(self, pieces: list[tuple[int, Word]]) -> dict[str, NDArray[Any]]:
        n, length = len(pieces), self._length
        ids, mask = np.zeros((1, length), np.int64), np.zeros((1, length), np.float32)
        if n:
            ids[0, length - n :] = [piece for piece, _ in pieces]
            mask[0, length - n :] = 1
        return {"ids": ids, "mask": mask}

    def _newest_pieces(self, words: tuple[Word, ...]) -> list[tuple[int, Word]]:
        newest: list[tuple[int, Word]] = []
        for word in reversed(words):
            check_times((word,))
            pieces = self.tokenizer(word.text[:LONGEST_WORD])
            newest[:0] = [(piece, word) for piece in pieces]
            if len(newest) >= self._length:
                break
        return newest[-self._length :]


def check_times(words: tuple[Word, ...]) -> None:
    """Raises InputError for a word that ends before it starts."""
    for word in words:
        if word.end_us < word.start_us:
            raise InputError(f"word {word.text!r} ends before it starts ({word.end_us} < {word.start_us} us)")
