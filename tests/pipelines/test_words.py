"""How the text encoder is scored: with and without turns, on denials and on politeness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.perception.dialogue import CURRENT, EARLIER, LENGTH, OTHER, PIECES, DialogueEncoder
from edge_mer.perception.wordpiece import SPECIAL, WordPiece
from edge_mer.runtime.backend import Arrays, TensorSpec
from pipelines.data.utterances import Turn, Utterance
from pipelines.study import words

PIECE = [
    *SPECIAL,
    "happy",
    "not",
    "sad",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]


class Graph:
    """Happy and positive where it reads ``happy`` without ``not``; of a turn before it only whether there is one."""

    inputs: dict[str, TensorSpec] = {}  # noqa: RUF012
    outputs = {"tokens": TensorSpec((1, PIECES, 1), np.dtype(np.float32))}  # noqa: RUF012
    metadata = {"domains": ["comment", "dialogue"]}  # noqa: RUF012
    sha256 = "0" * 64

    def __init__(self) -> None:
        self.seen: list[Arrays] = []

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        self.seen.append(inputs)
        own = inputs["ids"][0, :CURRENT]
        glad = (own == PIECE.index("happy")).any() and not (own == PIECE.index("not")).any()
        emotion = np.zeros((1, 2, 7), np.float32)
        emotion[..., 1 if glad else 0] = 1
        return {"emotion": emotion, "sentiment": np.full((1, 1), 2.0 * glad - 1), "english": np.ones((1, 1))}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> words.Reader:
    graph = Graph()
    monkeypatch.setattr(words, "open_text", lambda g, models: DialogueEncoder(g, WordPiece(PIECE)))
    return words.Reader(graph, Path())


def said(text: str, emotion: int, ordinal: int) -> Utterance:
    return Utterance(text, "meld", "meld 1", {"meld": (emotion,)}, ordinal, before=(Turn("ab", False),))


def test_figures_count_right_answers_and_signs(reader: words.Reader) -> None:
    rows = [said("happy", 1, 1), said("sad", 0, -1), said("not happy", 1, 1)]
    figures = words._labelled(reader, "meld", rows, str)
    assert figures["accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert 0 < figures["sentiment_weighted_f1"] < 1


@pytest.mark.parametrize(("known", "kind"), [(True, OTHER), (False, EARLIER), (None, None)])
def test_turns_are_read_where_asked_for_with_or_without_who_said_them(
    reader: words.Reader, known: bool | None, kind: int | None
) -> None:
    words._labelled(reader, "meld", [said("happy", 1, 1)], str, known)
    turn = reader._graph.seen[-1]["turn"]  # type: ignore[attr-defined]
    assert turn.shape == (1, LENGTH)
    assert set(turn[0, CURRENT : CURRENT + 2].tolist()) == ({kind} if kind is not None else {0})


def test_a_denial_that_is_heard_is_less_positive_and_not_happy(reader: words.Reader) -> None:
    found = words._denied(reader)
    unheard = 1 / len(words.DENIED)  # "isn't happy" has no word "not"
    assert found["called happy"] == pytest.approx(unheard, abs=1e-3)
    assert 0 < found["less positive"] < 1


def test_a_text_without_a_word_has_no_answer(reader: words.Reader) -> None:
    assert reader.answer("") is None
