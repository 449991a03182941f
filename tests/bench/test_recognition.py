"""Word error rates are counted as usual, against what is really said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bench.recognition import errors, normal, transcripts

README = """# speech_clips
| file | transcript | origin | licence |
|---|---|---|---|
| jfk.flac (44.1 kHz) | ask not | x | y |
| sb_spk1_snt1..6.wav, ... | 1: dogs / drop the tue when you add the figures / (6: none); 2: a / b | x | y |
| crema_1002_DFA_{ANG,DIS}_XX.wav | don't forget a jacket; emotion in the name | x | y |
| silero_vad_test_60s.wav (16 kHz, 60 s) | none; speech with pauses | x | y |
"""


def test_transcripts_are_read_from_the_sets_table_and_corrected() -> None:
    found = transcripts(README)
    assert found["jfk.flac"] == "ask not"
    assert found["sb_spk1_snt2.wav"] == "drop the two when you add the figures"
    assert found["sb_spk2_snt2.wav"] == "b"
    assert found["crema_1002_DFA_SAD_XX.wav"] == "don't forget a jacket"
    assert "silero_vad_test_60s.wav" not in found
    assert "sb_spk1_snt3.wav" not in found


def test_case_and_punctuation_are_no_errors() -> None:
    assert normal("Mr. Smith\u2019s here!") == ["mister", "smith's", "here"]


def test_replaced_lost_and_added_words_each_count_once() -> None:
    assert errors(["a", "b", "c"], ["a", "x", "c"]) == 1
    assert errors(["a", "b", "c"], ["a", "c"]) == 1
    assert errors(["a", "b", "c"], ["a", "b", "b", "c"]) == 1
    assert errors([], ["a"]) == 1


words = st.lists(st.sampled_from("abc"), max_size=8)


@given(words, words)
def test_no_errors_exactly_where_nothing_differs(said: list[str], heard: list[str]) -> None:
    assert (errors(said, heard) == 0) == (said == heard)
    assert errors(said, heard) == errors(heard, said) <= max(len(said), len(heard))
