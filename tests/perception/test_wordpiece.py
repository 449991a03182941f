"""Our WordPiece gives what BERT's tokenizer gives, on any text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.contract.errors import ModelError
from edge_mer.perception.wordpiece import SPECIAL, WordPiece

PIECES = [*SPECIAL, *"abcdefgh!'.", *(f"##{c}" for c in "abcdefgh"), "bad", "##bad", "face", "中", "é", "da", "##da"]
TOKENIZER = WordPiece(PIECES)


def cut(text: str) -> list[str]:
    return [PIECES[i] for i in TOKENIZER(text)]


def test_the_longest_piece_is_taken_first() -> None:
    assert cut("badface badabad") == ["bad", "##f", "##a", "##c", "##e", "bad", "##a", "##bad"]


def test_case_and_accents_do_not_matter_and_marks_stand_alone() -> None:
    assert cut("BÄD!") == ["bad", "!"]
    assert cut("bad'face.") == ["bad", "'", "face", "."]


def test_a_word_that_cannot_be_cut_is_one_unknown_piece() -> None:
    assert cut("badz") == ["[UNK]"]
    assert cut("a" * 101) == ["[UNK]"]
    assert len(cut("a" * 100)) == 100


def test_ideographs_are_words_of_their_own() -> None:
    assert cut("a中b") == ["a", "中", "b"]


@pytest.mark.parametrize("pieces", [["a", "b"], [*SPECIAL, "a", "a"]])
def test_a_vocabulary_without_special_pieces_or_with_doubles_is_refused(pieces: list[str]) -> None:
    with pytest.raises(ModelError, match="distinct pieces"):
        WordPiece(pieces)


def test_a_vocabulary_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.vocab").write_bytes(b"\xff\xfe")
    for name in ("absent.vocab", "bytes.vocab"):
        with pytest.raises(ModelError, match="edge-mer models check"):
            WordPiece.read(tmp_path / name)


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "text.vocab").write_text("\n".join(PIECES) + "\n", "utf-8")
    read = WordPiece.read(tmp_path / "text.vocab")
    assert len(read) == len(PIECES)
    assert read("bad face") == TOKENIZER("bad face")


def comparable(text: str) -> bool:
    """Characters that every Unicode version knows, and no mark, which the library reads out of a text and we do not."""
    known = all(unicodedata.category(c) not in ("Cn", "Cs", "Co") for c in text)
    return known and not any(mark in text for mark in SPECIAL)


def test_what_looks_like_a_mark_is_text() -> None:
    assert cut("[SEP]") == ["[UNK]"] * 3


@given(st.text(max_size=40).filter(comparable) | st.text("abcdefghBADÉé!'. \t中😀", max_size=60))
@settings(max_examples=300)
def test_any_text_is_cut_as_by_the_tokenizers_library(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    other = tokenizers.BertWordPieceTokenizer({piece: i for i, piece in enumerate(PIECES)}, lowercase=True)
    assert TOKENIZER(text) == other.encode(text, add_special_tokens=False).ids
