"""The text encoder: the newest sub-words of a segment, each with the time of its word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.contract.errors import InputError, ModelError
from edge_mer.perception.dialogue import PIECES
from edge_mer.perception.encoder import TextSegment, Tokens, Word
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import text_graph

MODELS = Path(__file__).parents[2] / "edge_mer" / "models"
SHIPPED = load_encoder("text", OnnxRuntime(), MODELS)


def letters(word: str) -> list[int]:
    """A tokenizer without weights: one sub-word per letter."""
    return [ord(letter) % 1000 for letter in word]


def encode(*words: str, segment: int = 3) -> Tokens:
    timed = tuple(Word(w, 1000 * i, 1000 * i + 900) for i, w in enumerate(words))
    return TextEncoder(text_graph(), letters).step(None, TextSegment(segment, timed, True))[1]


def test_each_sub_word_has_the_time_of_its_word() -> None:
    tokens = encode("ab", "c")
    assert tokens.values[:, 0].tolist() == [97, 98, 99]
    assert tokens.start_us.tolist() == [0, 0, 1000]
    assert tokens.end_us.tolist() == [900, 900, 1900]
    assert tokens.valid.all()
    assert tokens.context == 3
    assert not tokens.cut


def test_of_a_long_segment_the_newest_24_sub_words_are_kept() -> None:
    tokens = encode(*"abcdefghijklmnopqrstuvwxyz")
    assert len(tokens) == 24
    assert tokens.values[:, 0].tolist() == [ord(c) for c in "cdefghijklmnopqrstuvwxyz"]
    assert tokens.start_us.tolist() == [1000 * i for i in range(2, 26)]


def test_an_empty_segment_gives_no_token_but_keeps_its_name() -> None:
    for tokens in (encode(), encode("")):
        assert len(tokens) == 0
        assert tokens.values.shape == (0, 2)
        assert tokens.context == 3


def test_ten_thousand_words_are_read_from_the_end() -> None:
    asked = []
    counting = TextEncoder(text_graph(), lambda word: asked.append(word) or [1])
    words = tuple(Word(str(i), i, i) for i in range(10_000))
    _, tokens = counting.step(None, TextSegment(0, words, True))
    assert len(tokens) == 24
    assert len(asked) == 24


def test_a_word_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InputError, match="ends before it starts"):
        TextEncoder(text_graph(), letters).step(None, TextSegment(0, (Word("x", 5, 4),), True))


@given(words=st.lists(st.text(max_size=80), max_size=40))
@settings(max_examples=80)
def test_the_shipped_encoder_defines_an_output_for_any_text(words: list[str]) -> None:
    timed = tuple(Word(w, i, i + 1) for i, w in enumerate(words))
    _, tokens = SHIPPED.step(SHIPPED.initial(), TextSegment(1, timed, False))
    assert len(tokens) <= PIECES
    assert np.isfinite(tokens.values).all()
    assert tokens.values.shape[1] == 64
    assert (np.diff(tokens.start_us) >= 0).all()


@pytest.mark.parametrize("text", ["😀🎉", "こんにちは", "\x00\x07", "ﷺ" * 300, "a" * 100_000])
def test_strange_words_are_defined_too(text: str) -> None:
    _, tokens = SHIPPED.step(SHIPPED.initial(), TextSegment(1, (Word(text, 0, 1),), True))
    assert np.isfinite(tokens.values).all()


def test_case_does_not_matter() -> None:
    spoken = (TextSegment(1, (Word(w, 0, 1),), True) for w in ("HAPPY", "happy"))
    one, other = (SHIPPED.step(SHIPPED.initial(), block)[1].values.tobytes() for block in spoken)
    assert one == other


def test_a_damaged_tokenizer_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "text.spm").write_bytes(b"damaged")
    for path in (tmp_path / "text.spm", tmp_path / "absent.spm"):
        with pytest.raises(ModelError, match="sentencepiece"):
            SentencePiece(path)


WORDS = ["i", "am", "so", "unbelievably", "happy", "to", "see", "you", "again"]


@given(cuts=st.lists(st.integers(0, len(WORDS)), max_size=6))
@settings(max_examples=40)
def test_after_any_partial_transcripts_the_whole_one_gives_the_same_bytes(cuts: list[int]) -> None:
    timed = tuple(Word(w, 300_000 * i, 300_000 * i + 250_000) for i, w in enumerate(WORDS))
    state, alone = SHIPPED.initial(), SHIPPED.step(SHIPPED.initial(), TextSegment(2, timed, True))[1]
    for cut in sorted(cuts):
        state, partial = SHIPPED.step(state, TextSegment(2, timed[:cut], False))
        assert partial.context == 2
        assert partial.start_us.tolist() == [t for t in alone.start_us.tolist() if t < 300_000 * cut]
    _, final = SHIPPED.step(state, TextSegment(2, timed, True))
    assert final.values.tobytes() == alone.values.tobytes()


def test_a_partial_word_that_was_revised_leaves_nothing_behind() -> None:
    heard = (Word("sad", 0, 400_000),)
    meant = (Word("glad", 0, 450_000),)
    state, _ = SHIPPED.step(SHIPPED.initial(), TextSegment(2, heard, False))
    _, revised = SHIPPED.step(state, TextSegment(2, meant, True))
    _, fresh = SHIPPED.step(SHIPPED.initial(), TextSegment(2, meant, True))
    assert revised.values.tobytes() == fresh.values.tobytes()
    assert set(revised.end_us.tolist()) == {450_000}
