"""Figures of valence, arousal and non-verbal sounds: pairs in the right order, asked of recordings never heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.strangers_affect import arousal_of, auc, degree, parted
from calibration.strangers_events import unseen
from edge_mer.fusion.affect import POINTS
from pipelines.data.corpora import ACTED
from pipelines.data.voices import Voice
from pipelines.encoders.voice_net import VoiceHead


def clip(speaker: str, label: str, strong: bool = False) -> Voice:
    return Voice(Path("none"), "ravdess", speaker, label, strong=strong)


@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=2, max_size=20))
def test_auc_of_reversed_values_is_its_complement(pairs: list[tuple[float, bool]]) -> None:
    values, above = np.array([v for v, _ in pairs]), np.array([a for _, a in pairs])
    if above.all() or not above.any():
        assert np.isnan(auc(values, above))
    else:
        assert auc(values, above) + auc(-values, above) == pytest.approx(1)


def test_a_tie_is_half_a_pair() -> None:
    assert auc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


def test_a_clip_without_a_value_is_not_judged_and_counted_as_asked() -> None:
    voices = [clip("1", "happy"), clip("2", "sad"), clip("2", "happy"), clip("1", "disgust")]
    row = parted("x", voices, [0.5, -0.5, None, 0.9], ("happy",), ("sad",))
    assert (row.value, row.n) == (1, "2 of 3 (2)")


def test_degree_is_asked_within_one_emotion_of_one_speaker() -> None:
    """An angry voice above a sad one is no sign of how strongly either is expressed."""
    voices = [clip(s, e, strong) for s in ("1", "2") for e in ("angry", "sad") for strong in (False, True)]
    level = [(e == "angry") * 5.0 for _ in ("1", "2") for e in ("angry", "sad") for _ in (False, True)]
    assert degree("x", voices, level).value == 0.5
    assert degree("x", voices, [v + c.strong for v, c in zip(level, voices, strict=True)]).value == 1


def test_arousal_of_a_voice_is_that_of_its_token_whatever_the_prior_of_the_head() -> None:
    head, logits = VoiceHead(), np.zeros((2, len(ACTED)))
    logits[0, ACTED.index("angry")] = logits[1, ACTED.index("calm")] = 30
    plain = arousal_of(head, logits)
    assert plain == pytest.approx([POINTS["angry"][1], POINTS["calm"][1]], abs=1e-4)
    head.prior[ACTED.index("neutral")] = 2
    assert arousal_of(head, logits + head.prior.numpy()) == pytest.approx(plain)


def test_a_sound_is_read_by_no_reader_that_heard_its_recording() -> None:
    """Labels that follow from the recording alone cannot be found again in another one."""
    random = np.random.default_rng(0)
    groups = [str(i // 4) for i in range(160)]
    of_group = random.normal(size=(40, 8)).astype(np.float32)
    values = of_group[[int(g) for g in groups]] + random.normal(size=(160, 8)).astype(np.float32) / 10
    kinds = np.array(["cry", "noise"])[random.integers(2, size=40)[[int(g) for g in groups]]]
    assert 0.25 < auc(unseen(values, kinds, groups)["cry"], kinds == "cry") < 0.75
    marked = values + 5 * (kinds == "cry")[:, None].astype(np.float32)
    assert auc(unseen(marked, kinds, groups)["cry"], kinds == "cry") > 0.95
