"""Heads that are tried on the front of the voice: what they learn, and what they may know of a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.voice_heads import Idea, fit, less_own, shifted, streams
from pipelines.data.corpora import ACTED
from pipelines.data.voices import Voice
from pipelines.encoders.voice import Features, of_clips
from pipelines.encoders.voice_net import SIZE

CLIPS = 48
PEOPLE = [Voice(Path("none"), "ravdess", f"ravdess {1 + i % 3:02}", ACTED[i % len(ACTED)]) for i in range(CLIPS)]


@pytest.fixture(scope="module")
def found() -> Features:
    """Two windows of each clip, one elsewhere; a value of its own for each label and each person."""
    random, clip = np.random.default_rng(0), np.repeat(np.arange(CLIPS), 2)
    pooled = random.normal(0, 0.02, (2 * CLIPS, SIZE))
    pooled[np.arange(2 * CLIPS), clip % len(ACTED)] += 3
    pooled[np.arange(2 * CLIPS), 100 + clip % 3] += 0.5
    moved = np.tile([False, True], CLIPS)
    return Features(pooled.astype(np.float16), np.full(2 * CLIPS, 50, np.float32), clip, moved, np.zeros_like(clip))


def test_a_linear_head_learns_the_labels_of_a_person_left_out(found: Features) -> None:
    chosen = np.array([v.speaker != "ravdess 03" for v in PEOPLE])
    head = fit(found, PEOPLE, chosen, Idea("", 2, 0.001))
    rows = np.flatnonzero(~found.moved)
    with torch.no_grad():
        logits = head(torch.from_numpy(found.pooled[rows]).float()).numpy()
    answers = of_clips(logits, found, rows, CLIPS).argmax(1)
    truth = np.array([ACTED.index(v.label) for v in PEOPLE])
    assert (answers == truth)[~chosen].all()


def test_what_is_known_of_a_person_from_earlier_clips_does_not_depend_on_later_ones(found: Features) -> None:
    before = less_own(found, PEOPLE, "earlier")
    last = np.random.default_rng(0).permutation(CLIPS).argmax()
    changed = found.pooled.copy()
    changed[found.clip == last] += 50
    after = less_own(replace(found, pooled=changed), PEOPLE, "earlier")
    others = found.clip != last
    assert (before.pooled[others] == after.pooled[others]).all()
    assert (before.pooled[others] != less_own(found, PEOPLE, "all").pooled[others]).any()


def test_two_people_in_turn_share_a_stream_and_one_emotion_has_its_own() -> None:
    pair, one = streams(PEOPLE, "two"), streams(PEOPLE, "one")
    assert [len({p.speaker for p, s in zip(PEOPLE, pair, strict=True) if s == k}) for k in range(2)] == [2, 1]
    assert all(len({(p.speaker, p.label) for p, s in zip(PEOPLE, one, strict=True) if s == k}) == 1 for k in one)


def test_a_corpus_of_one_class_is_answered_with_it() -> None:
    logits = np.random.default_rng(0).normal(0, 0.1, (50, len(ACTED)))
    logits[:, ACTED.index("sad")] += 0.4
    logits[0, ACTED.index("angry")] = 0.6
    assert set(shifted(logits).argmax(1)) == {ACTED.index("sad")}
