"""Feature sets: what is refused, and that no split cuts a video, an actor or a dialogue in two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data import corpora as data
from pipelines.data import feature_sets as sets
from pipelines.data import splits
from pipelines.data.corpora import DataError
from pipelines.data.feature_specs import FEATURE_SPECS, combinations_of, layout_of
from pipelines.data.holdout_guard import TestSplitTouched
from tests.pipelines.feature_files import arrays, write

ROOT = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the data sets are absent: {ROOT}")
GOOD = arrays("mosi")


def changed(array: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    values = GOOD[array].copy()
    return {array: change(values)}


def put(values: Any, row: Any, value: Any) -> Any:
    values[row] = value
    return values


@pytest.mark.parametrize("name", FEATURE_SPECS)
def test_a_missing_set_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^{name}: .*is absent\. Get it: .*README.*--data"):
        sets.read(name, tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (changed("text", lambda x: x[:, :99]), r"text is float32\[36, 99\]; expected floats \[36, 100\]"),
        (changed("text", lambda x: put(x, (7, 3), np.nan)), r"text row 7 holds NaN or Inf; expected finite"),
        (changed("visual", lambda x: put(x, (0, 0), np.inf)), r"visual row 0 holds NaN or Inf"),
        (changed("audio", lambda x: x.astype(int)), r"audio is int64.*expected floats"),
        (changed("sentiment", lambda x: put(x, 5, 3.5)), r"sentiment row 5 is 3.5; expected -3 to 3"),
        (changed("sentiment", lambda x: put(x, 4, np.nan)), r"sentiment row 4 is nan; expected -3 to 3"),
        (changed("sentiment", lambda x: x[:3]), r"sentiment is float32\[3\]; expected floats \[36\]"),
        ({"audio": None}, r"array 'audio' is absent; the file has"),
        ({"video_id": np.zeros(0, "<U3")}, r"no rows; expected at least one"),
    ],
)
def test_a_bad_file_is_refused_by_array_row_and_expectation(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=complaint):
        sets.read("mosi", write(tmp_path, "mosi", **changes))


def test_a_class_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    labels = put(arrays("meld")["emotion"], 9, 7)
    with pytest.raises(DataError, match=r"emotion row 9 is 7; expected 0 to 6"):
        sets.read("meld", write(tmp_path, "meld", emotion=labels))


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"emotion_names are .*; expected neutral, joy"):
        sets.read("meld", write(tmp_path, "meld", emotion_names=np.array(layout_of("meld").emotions[::-1])))


def test_an_absent_modality_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path, "mosi", audio=np.full((36, 73), np.nan))
    assert set(sets.read("mosi", path, ["text"]).vectors) == {"text"}


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    rows = sets.read("mosi", write(tmp_path, "mosi", split=np.full(36, "train")))
    with pytest.raises(DataError, match=r"mosi: the (dev|test) split is empty; expected rows of at least one video"):
        splits.splits(rows, 0)


def test_unknown_sets_and_combinations_are_refused() -> None:
    with pytest.raises(DataError, match="data set 'iemocap' is unknown; expected one of mosi, ravdess, meld"):
        layout_of("iemocap")
    with pytest.raises(DataError, match="unknown combination 't'; expected av, a, v"):
        combinations_of(layout_of("ravdess"), "a,t")


@pytest.mark.parametrize("name", ["mosi", "meld"])
def test_every_group_is_on_one_side_and_every_scored_row_is_scored_once(name: str, tmp_path: Path) -> None:
    rows = sets.read(name, write(tmp_path, name))
    scored = []
    for split in splits.splits(rows, 0):
        sides = [set(rows.group[split[part]]) for part in ("train", "dev")]
        index = split.final()
        sides.append(set(rows.group[index]))
        assert not sides[0] & sides[1]
        assert not sides[2] & (sides[0] | sides[1])
        scored.append(index)
    every = np.concatenate(scored)
    assert len(every) == len(np.unique(every))
    assert len(every) == (rows.split == "dev").sum() if name == "mosi" else len(rows)


def test_the_scored_rows_cannot_be_seen_before_the_end(tmp_path: Path) -> None:
    split = splits.splits(sets.read("mosi", write(tmp_path, "mosi")), 0)[0]
    with pytest.raises(TestSplitTouched):
        split["test"]
    split.final()
    with pytest.raises(TestSplitTouched):
        split["train"]


@needs_data
def test_the_real_utterance_sets_are_as_described() -> None:
    mosi, meld = sets.read("mosi", ROOT), sets.read("meld", ROOT)
    assert [len(s["train"]) for s in splits.splits(mosi, 0)] == [1447, 1447]
    assert mosi.layout.combinations == ("atv", "at", "av", "tv", "a", "t", "v")
    assert len(splits.splits(meld, 0)) == 5
    assert meld.layout.combinations == ("at", "a", "t")
    assert set(np.unique(meld.ordinal)) == {-1, 0, 1}


@needs_data
def test_clips_become_tokens_in_their_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(ROOT / "ravdess_av" / "ravdess_av.npz") as file:
        table = {key: file[key] for key in file.files}
    few = {k: v[:4] if v.shape[:1] == (1200,) else v for k, v in table.items()} | {
        "visual_offsets": table["visual_offsets"][:5]
    }
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "audio").symlink_to(ROOT / "ravdess_av" / "audio")
    np.savez(folder / "some.npz", **few)
    for _ in range(2):  # computed, then from the cache
        rows = sets.read("ravdess", folder / "some.npz")
        seconds = table["duration_s"][:4]
        assert (np.abs(rows.age["audio"].max(1) + 0.125 - seconds) < 0.13).all()
        assert ((rows.mask["video"].sum(1) * 0.2 - (seconds - 1.7)) < 0.4).all()
        assert np.isfinite(rows.tokens["audio"]).all()
    (folder / "audio").unlink()
    with pytest.raises(data.DataError, match=r"audio_path row 0: .*\.flac is absent"):
        sets.read("ravdess", folder / "some.npz")
