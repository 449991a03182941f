"""Figures of the face encoder: a face is labelled where there is a sure token, and spoiled faces are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.strangers_face import HARMS, Answers, answers, judged, row
from edge_mer.perception.face import SHARP
from pipelines.data.corpora import UNKNOWN
from pipelines.data.faces import VotedFaces, fer2013_votes
from tests.perception.fakes import face_graph

ROOT = Path(__file__).parents[3] / "shared" / "data"
FACE = (np.random.default_rng(0).random((48, 48)) * 255).astype(np.uint8)


class Heads:
    """A graph with all outputs, sure of what it is told."""

    def __init__(self, readable: float) -> None:
        self.inner, self.readable = face_graph(), readable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        one = np.eye(7, dtype=np.float32)
        readable = np.full((1, 1), self.readable, np.float32)
        return {"posterior": one[3:4], "search": one[5:6], "readable": readable}


@pytest.mark.parametrize(("readable", "labelled"), [(0.9, True), (0.1, False)])
def test_an_unreadable_face_is_not_labelled(readable: float, labelled: bool) -> None:
    assert answers(Heads(readable), FACE[None]).labelled.tolist() == [labelled]


def test_a_blurred_face_is_not_labelled_and_an_older_graph_is_asked_for_its_one_posterior() -> None:
    found = answers(face_graph(), np.stack([FACE, np.full((48, 48), 90, np.uint8)]))
    assert found.valid.tolist() == [True, False]
    assert (found.own == found.votes).all()
    assert SHARP > 0


def test_own_labels_are_compared_with_the_search_head_and_ties_are_left_out() -> None:
    votes = np.eye(7, dtype=np.float32)[[3, 2, 0]]
    votes[2, :2] = 0.5
    faces = VotedFaces(np.stack([FACE] * 3), votes, np.array([5, 5, 1]))
    assert (faces.majority == [3, 2, UNKNOWN]).all()
    own, most, entropy = judged(answers(Heads(0.9), faces.images), faces)
    assert own.value == pytest.approx(2 / 3)
    assert own.reached is False
    assert (most.value, most.n) == (0.5, "2")
    assert entropy.value > 10


def test_a_share_of_half_is_not_sure() -> None:
    votes = np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0, 0]])
    assert Answers(votes, votes, np.array([True, True])).labelled.tolist() == [False, True]


@pytest.mark.parametrize("name", list(HARMS))
def test_spoiled_faces_keep_their_size_and_a_cover_hides_the_lower_part_alone(name: str) -> None:
    changed = HARMS[name](FACE, np.random.default_rng(0))
    assert (changed.shape, changed.dtype) == (FACE.shape, np.uint8)
    if "lower" in name:
        assert (changed[:24] == FACE[:24]).all()
        assert (changed[30:] != FACE[30:]).mean() > 0.9


def test_a_row_is_reached_or_missed_by_its_value() -> None:
    assert row("x", np.ones(4), ">= 0.5", lambda value: value >= 0.5).reached is True
    assert row("x", np.zeros(4)).reached is None


def test_test_pictures_have_a_majority_mostly() -> None:
    if not ROOT.is_dir():
        pytest.skip(f"real recordings are absent: {ROOT}")
    faces = fer2013_votes(ROOT, "dev")
    assert len(faces.images) == 3589
    assert (faces.majority != UNKNOWN).sum() == 3423
