"""The data sets as typed records, checked when they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_mer.contract.domain import EMOTIONS
from pipelines.data import corpora as data

ROOT = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the data sets are absent: {ROOT}")


@pytest.mark.parametrize("read", [data.ravdess, data.fer2013, data.goemotions, data.meld, data.mosi])
def test_a_missing_set_is_named_with_what_to_do(read: object, tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match=r"is absent.*README.*--data"):
        read(tmp_path, "train")  # type: ignore[operator]


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meld_text").mkdir()
    (tmp_path / "meld_text" / "train_sent_emo.csv").write_text("Utterance,Emotion\nhi,joy\n")
    with pytest.raises(data.DataError, match="Sentiment"):
        data.meld(tmp_path, "train")


@needs_data
def test_ravdess_is_split_by_actor_and_faces_are_in_our_order() -> None:
    train, dev = data.ravdess(ROOT, "train"), data.ravdess(ROOT, "dev")
    assert (len(train), len(dev)) == (960, 240)
    assert {c.actor for c in train} == set(range(1, 17))
    assert {c.actor for c in dev} == {17, 18, 19, 20}
    happy = [c for c in train if c.emotion == EMOTIONS.index("happy")]
    assert np.mean([c.posteriors.mean(0).argmax() == EMOTIONS.index("happy") for c in happy]) > 0.5
    assert abs(len(train[0].samples()) / 16_000 - train[0].duration_s) < 0.01


@needs_data
def test_texts_carry_only_annotated_labels() -> None:
    rows = data.sentences(ROOT, "dev")
    mosi = [r for r in rows if r.source == "mosi"]
    assert len(mosi) == 212
    assert all(r.emotion == data.UNKNOWN and r.ordinal is None and abs(r.score) <= 3 for r in mosi)
    others = [r for r in rows if r.source != "mosi"]
    assert {r.emotion for r in others} == set(range(7))
    assert all(np.isnan(r.score) for r in others)
    assert {r.ordinal for r in others} == {-1, 0, 1, None}


@needs_data
def test_texts_are_grouped_by_comment_dialogue_or_video() -> None:
    groups: dict[str, list[str]] = {}
    for row in data.sentences(ROOT, "dev"):
        groups.setdefault(row.source, []).append(row.group)
    assert all(g.startswith(f"{source} ") for source, found in groups.items() for g in found)
    assert len(set(groups["goemotions"])) == len(groups["goemotions"]), "comments stand alone"
    assert len(set(groups["meld"])) < len(groups["meld"]) / 5, "dialogues have many lines"
    assert 5 < len(set(groups["mosi"])) < 20, "videos"


@needs_data
def test_faces_are_48_by_48_with_all_seven_labels() -> None:
    faces = data.fer2013(ROOT, "dev")
    assert faces.images.shape == (3589, 48, 48)
    assert np.bincount(faces.labels).argmin() == EMOTIONS.index("disgust")
