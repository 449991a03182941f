"""Words that nobody spoke are left out, whichever recogniser wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.capture.asr.guard import LEAST_VOICED, PHRASES, doubt, plain, spoken
from edge_mer.contract.raw import WordTime
from edge_mer.contract.recognisers import LEAST_CONFIDENCE


def words(text: str) -> list[WordTime]:
    return [WordTime(word, i, i + 1) for i, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("text", "voiced", "confidence", "reason"),
    [
        ("turn on the kitchen light", 40, 0.9, None),
        ("turn on the kitchen light", 40, None, None),
        ("yes", LEAST_VOICED, 0.9, None),
        ("yes", LEAST_VOICED - 1, 0.99, "too short"),
        ("turn on the kitchen light please now", LEAST_VOICED, None, "more words than speech"),
        ("turn on the kitchen light", 40, LEAST_CONFIDENCE - 0.01, "unsure"),
        ("no " * 40, 200, 0.9, "repeated"),
    ],
)
def test_words_need_speech_enough_and_a_recogniser_that_is_sure(
    text: str, voiced: int, confidence: float | None, reason: str | None
) -> None:
    assert doubt(text, voiced, confidence) == reason


@pytest.mark.parametrize("phrase", sorted(PHRASES))
def test_a_phrase_that_is_written_for_noise_needs_certainty(phrase: str) -> None:
    text = f"{phrase.capitalize()}."
    assert doubt(text, 60, None) is not None
    assert doubt(text, 60, 0.6) is not None
    assert doubt(text, 60, 0.95) is None
    assert doubt(f"{text} I will call you tomorrow", 60, 0.6) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("[BLANK_AUDIO]", ""),
        ("(upbeat music)", ""),
        ("*sighs* all right", "all right"),
        ("well [door closes] hello.", "well hello."),
        ("\u266a\u266a", ""),
        ("(laughs.) hello", "hello"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_descriptions_of_sounds_are_no_words(text: str, kept: str) -> None:
    assert " ".join(w.text for w in spoken(words(text))) == kept


@given(st.text(max_size=300), st.integers(0, 400), st.none() | st.floats(0, 1))
def test_any_text_is_judged(text: str, voiced: int, confidence: float | None) -> None:
    doubt(text, voiced, confidence)
    spoken(words(text))
    assert plain(plain(text)) == plain(text)
