"""Text encoder that reads an utterance with the turns before it: final segments of the last 60 s.

A graph's inputs: ``[CLS]``, the newest sub-words of the utterance, ``[SEP]``, padding; then from a fixed place on the
turns before it, the newest first, a ``[SEP]`` after each. Without a turn the second part is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.clock import SECOND
from edge_mer.perception.encoder import EncoderSpec, TextSegment, Tokens, Word
from edge_mer.perception.text import LONGEST_WORD, RATE_HZ, check_times
from edge_mer.perception.wordpiece import WordPiece
from edge_mer.runtime.backend import Graph, origin

# Positions of the utterance (its marks included), of the turns before it, and both.
CURRENT, CONTEXT = 40, 32
LENGTH: Final = CURRENT + CONTEXT
PIECES: Final = CURRENT - 2
MEMORY_US: Final = 60 * SECOND
VOCABULARY: Final = "text.vocab"
# What ``turn`` says of a position: of the utterance itself, of an earlier turn by whoever, by its speaker, by another.
OWN, EARLIER, SAME, OTHER = range(4)
TURNS: Final = 4
# A text that is less likely English than this gives tokens that are not valid: the encoder knows no other language.
ENGLISH: Final = 0.5
UNKNOWN_LANGUAGE: Final = "unknown language"


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A final segment that was read: its sub-words, at most PIECES."""

    segment: int
    end_us: int
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DialogueState:
    """``turns``: newest first, and no more than the context has places for. ``reason``: why the tokens of the last
    block are not valid."""

    turns: tuple[SpokenTurn, ...] = ()
    reason: str = ""


class DialogueEncoder:
    """Graph: ``ids``, ``turn`` int64 and ``mask`` float32, all [1, 72] -> ``tokens`` [1, 38, dim], ``english`` [1, 1].

    A later block of the same segment replaces the earlier one; a final one is remembered for 60 s of speech time.
    """

    def __init__(self, graph: Graph, tokenizer: WordPiece) -> None:
        self._graph, self.tokenizer = graph, tokenizer
        self.spec = EncoderSpec(
            name=str(graph.metadata.get("name", "text")),
            modality="text",
            rate_hz=RATE_HZ,
            dim=graph.outputs["tokens"].shape[-1],
            latency_us=0,
            model=origin(graph)[:16],
        )

    def initial(self) -> DialogueState:
        return DialogueState()

    def step(self, state: DialogueState, block: TextSegment) -> tuple[DialogueState, Tokens]:
        """Tokens of the newest sub-words of the segment. Raises InputError for a word that ends before it starts."""
        pieces = self._newest_pieces(block.words)
        n = len(pieces)
        times = np.array([(w.start_us, w.end_us) for _, w in pieces], np.int64).reshape(n, 2)
        values, valid, turns = np.empty((0, self.spec.dim), np.float32), False, state.turns
        if n:
            turns = recent(turns, block.segment, int(times[0, 0]))
            ids = tuple(piece for piece, _ in pieces)
            out = self._graph.run(laid_out(self.tokenizer, ids, [(t.pieces, EARLIER) for t in turns]))
            values, valid = out["tokens"][0, :n], english(out)
            if block.final and valid:
                turns = (SpokenTurn(block.segment, int(times[-1, 1]), ids), *turns)[:CONTEXT]
        state = DialogueState(turns, UNKNOWN_LANGUAGE if n and not valid else "")
        tokens = Tokens(values, times[:, 0], times[:, 1], np.full(n, valid), context=block.segment)
        return state, tokens

    def inputs(self, block: TextSegment) -> dict[str, NDArray[Any]]:
        """What the graph is given for ``block`` without a turn before it."""
        return laid_out(self.tokenizer, [piece for piece, _ in self._newest_pieces(block.words)])

    def _newest_pieces(self, words: Sequence[Word]) -> list[tuple[int, Word]]:
        newest: list[tuple[int, Word]] = []
        for word in reversed(words):
            check_times((word,))
            newest[:0] = [(piece, word) for piece in self.tokenizer(word.text[:LONGEST_WORD])]
            if len(newest) >= PIECES:
                break
        return newest[-PIECES:]


def recent(turns: Sequence[SpokenTurn], segment: int, start_us: int) -> tuple[SpokenTurn, ...]:
    """The turns before ``segment``, which starts at ``start_us``, that are not too old for it."""
    return tuple(t for t in turns if t.segment != segment and t.end_us >= start_us - MEMORY_US)


def english(out: dict[str, NDArray[Any]]) -> bool:
    """Whether a graph that tells takes the text for English."""
    return "english" not in out or float(out["english"].item()) >= ENGLISH


def laid_out(
    tokenizer: WordPiece, pieces: Sequence[int], turns: Sequence[tuple[Sequence[int], int]] = ()
) -> dict[str, NDArray[Any]]:
    """A graph's inputs. ``turns``: sub-words and kind (EARLIER, SAME, OTHER) of each turn before, the newest first."""
    ids, turn = np.zeros((1, LENGTH), np.int64), np.zeros((1, LENGTH), np.int64)
    mask = np.zeros((1, LENGTH), np.float32)
    own = [tokenizer.start, *pieces[-PIECES:], tokenizer.separator]
    ids[0, : len(own)], mask[0, : len(own)] = own, bool(len(pieces))
    place = CURRENT
    for said, kind in turns:
        part = [*said, tokenizer.separator][: LENGTH - place]
        end = place + len(part)
        ids[0, place:end], turn[0, place:end], mask[0, place:end] = part, kind, 1
        place = end
    return {"ids": ids, "mask": mask, "turn": turn}
