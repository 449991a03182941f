"""Faces with the votes of ten people: shares of our seven, no leaked picture, majorities only where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_mer.contract.domain import EMOTIONS
from pipelines.data import corpora
from pipelines.data.corpora import UNKNOWN
from pipelines.data.faces import VotedFaces, _shares, fer2013_votes, smoothed, wild_faces

ROOT = Path(__file__).parents[3] / "shared" / "data"
COLUMNS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
needs_data = pytest.mark.skipif(not ROOT.is_dir(), reason=f"real recordings are absent: {ROOT}")


def test_votes_become_shares_of_our_seven_in_our_order() -> None:
    shares = _shares(np.array([[4, 2, 0, 2, 0, 0, 0, 2, 0, 0], [2, 2, 0, 0, 0, 0, 0, 0, 6, 0]], np.uint8), COLUMNS)
    assert shares[0, EMOTIONS.index("neutral")] == pytest.approx(0.5)
    assert shares[0, EMOTIONS.index("sad")] == pytest.approx(0.25)
    assert not shares[1].any(), "most people saw none of the seven"


def test_a_tie_is_no_majority() -> None:
    votes = np.zeros((3, 7), np.float32)
    votes[0, 2], votes[1, :2] = 1, 0.5
    faces = VotedFaces(np.zeros((3, 48, 48), np.uint8), votes, np.zeros(3, np.int64))
    assert faces.majority.tolist() == [2, UNKNOWN, UNKNOWN]


def test_one_persons_label_is_not_certain() -> None:
    seen = smoothed(np.array([3]))
    assert seen.sum() == pytest.approx(1)
    assert seen[0].argmax() == 3
    assert 0.5 < seen.max() < 1


@needs_data
def test_no_picture_of_train_is_one_of_dev() -> None:
    train, dev = fer2013_votes(ROOT, "train"), fer2013_votes(ROOT, "dev")
    ours, theirs = ({image.tobytes() for image in part.images} for part in (train, dev))
    assert not ours & theirs
    assert len(train.images) == 12_436 - 396 + 7_982
    assert np.allclose(train.votes.sum(1)[train.votes.any(1)], 1)
    assert len(corpora.fer2013(ROOT, "train").images) == 12_436 - 396


@needs_data
def test_press_photographs_have_a_label_each_and_none_of_fer2013() -> None:
    faces = wild_faces(ROOT)
    assert faces.images.shape == (1817, 48, 48)
    assert (faces.labels == UNKNOWN).all()
    assert (faces.majority != UNKNOWN).all()
