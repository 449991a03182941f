"""Figures of strangers: drawn anew by whole speakers, and asked of heads that were not trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration import strangers_product, strangers_targets
from calibration.strangers import Row, interval, markdown
from calibration.strangers_voice import Answered, answered, gap, left_out, seven_of
from edge_mer.contract.domain import EMOTIONS
from pipelines.data.corpora import ACTED
from pipelines.data.unseen import Unseen
from pipelines.data.voices import DEV_FOLD, FOLDS, Voice, fold_of
from pipelines.encoders.voice import Features
from pipelines.encoders.voice_net import MEMBERS, SCALE, SIZE, VoiceHead


def clip(corpus: str, speaker: str, label: str) -> Voice:
    return Voice(Path("none"), corpus, f"{corpus} {speaker}", label)


def test_one_speaker_is_one_draw_however_many_clips() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    _, low, high = interval(values, ["a"] * 50 + ["b"] * 50)
    assert (low, high) == (0, 1)
    _, narrow, wide = interval(values, [str(i) for i in range(100)])
    assert 0.35 < narrow < wide < 0.65


def test_no_speaker_is_answered_for_in_two_folds_and_dev_actors_share_one() -> None:
    voices = [clip("ravdess", f"{a:02}", "happy") for a in range(1, 21)]
    voices += [clip("libri_multi", str(i // 2), "neutral") for i in range(40)] + [clip("tess", "YAF", "sad")]
    folds = fold_of(voices)
    assert folds[16:20].tolist() == [DEV_FOLD] * 4
    assert (folds[20:60:2] == folds[21:60:2]).all()
    assert set(folds[:60].tolist()) == set(range(FOLDS))
    assert folds[60] != DEV_FOLD


def test_calm_is_neutral_of_seven() -> None:
    logits = np.full((1, len(ACTED)), -9.0)
    logits[0, [ACTED.index("neutral"), ACTED.index("calm")]] = 1.0
    logits[0, ACTED.index("happy")] = 1.5
    assert EMOTIONS[int(seven_of(logits).argmax())] == "neutral"


def test_on_a_corpus_left_out_only_the_four_classes_are_asked_and_answered() -> None:
    labels = ["angry", "happy", "neutral", "sad", "disgust"]
    logits = np.eye(len(ACTED))[[ACTED.index(x) for x in labels]] * 4
    logits[0, ACTED.index("disgust")] = 9.0
    row = left_out("tess", Answered([clip("tess", str(i), x) for i, x in enumerate(labels)], logits))
    assert row.value == 1
    assert row.n.startswith("4 ")


def test_a_window_counts_in_its_clip_by_how_much_of_it_is_voiced() -> None:
    logits = np.zeros((2, len(ACTED)), np.float32)
    logits[0, ACTED.index("sad")], logits[1, ACTED.index("angry")] = 3, 2
    clip_of, moved, token = np.zeros(2, np.int64), np.zeros(2, np.bool_), np.arange(2)
    found = Unseen(
        np.tile(logits * SCALE, MEMBERS).astype(np.float32), clip_of, moved, token, [clip("x", "a", "angry")]
    )
    pooled = np.zeros((2, SIZE), np.float16)
    # The features come in another order than the tokens.
    features = Features(pooled, np.array([30.0, 10.0], np.float32), clip_of, moved, token[::-1])
    (row,) = answered(VoiceHead(), found, features).logits
    assert row[ACTED.index("sad")] == np.float32(0.75)
    assert row[ACTED.index("angry")] == np.float32(1.5)


def test_a_gap_has_a_sign() -> None:
    some = Answered([clip("x", str(i), "happy") for i in range(4)], np.zeros((4, len(ACTED))))
    assert gap("", some, np.array([1.0, 1, 0, 0]), np.array([True, True, False, False])).value == 1


def test_a_row_without_a_target_is_neither_reached_nor_missed() -> None:
    table = markdown([Row("a sign", 0.5, 0.4, 0.6, "12 (2)"), Row("b", 0.1, 0, 1, "3", ">= 0.2", False)])
    assert "missed" in table.splitlines()[3]
    assert "missed" not in table.splitlines()[2]


def test_every_target_is_judged_or_says_why_not() -> None:
    """With nothing measured no line is reached, and each says what is missing or where it is measured."""
    lines = strangers_targets.markdown([], {}).splitlines()[2:]
    assert len(lines) == len(strangers_targets.TARGETS)
    assert all("not measured" in line for line in lines)


def test_a_target_of_several_figures_needs_all_of_them() -> None:
    quiet, bad = (f"read, adults (libri_multi): {x}" for x in ("called neutral or calm", "angry, sad, fear, disgust"))
    for wrong, verdict in ((0.05, "reached"), (0.2, "missed")):
        rows = [Row(quiet, 0.9, 0.8, 1.0, "9"), Row(bad, wrong, 0, 1, "9")]
        (line,) = (x for x in strangers_targets.markdown(rows, {}).splitlines() if "0.900" in x)
        assert line.endswith(f"{verdict} |")


def test_a_wrong_label_is_worse_than_none() -> None:
    assert strangers_product.verdict("labelled wrongly", 0.02) == ("<= 0.03", True)
    assert strangers_product.verdict("labelled neutral", 0.4) == (">= 0.50", False)
    assert strangers_product.verdict("no label", 0.9) == ("", None)
