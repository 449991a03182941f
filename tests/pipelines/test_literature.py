"""Files that researchers share: read whole, without running code, split as published, and reproduced by a command."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.contract.domain import COMBINATIONS
from pipelines.data import feature_sets, restricted_pickle
from pipelines.data.corpora import DataError
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import LITERATURE
from pipelines.data.splits import splits
from pipelines.fusion import experiment
from pipelines.fusion.estimates import figures
from pipelines.study import published, reproduce
from pipelines.study.published import PUBLISHED
from tests.pipelines import literature_files as files
from tests.pipelines.literature_files import WIDTHS

Make = Callable[[Path], Path]
MAKERS: dict[str, Make] = {
    "iemocap4": lambda folder: files.gcnet(folder, sessions=True),
    "cmumosi": lambda folder: files.gcnet(folder, sessions=False),
    "mosi-aligned": files.mmsa,
    "sims": lambda folder: files.mmsa(folder, aligned=False, scale=1.0),
    "meld-mmgcn": files.conversation,
    "iemocap-mmgcn": lambda folder: files.conversation(folder, meld=False),
}


def read(name: str, folder: Path) -> Rows:
    return feature_sets.read(name, MAKERS[name](folder).parent)


@pytest.mark.parametrize("name", MAKERS)
def test_every_layout_is_read_with_the_widths_of_its_file(name: str, tmp_path: Path) -> None:
    rows = read(name, tmp_path)
    assert rows.dims == WIDTHS
    assert {m: v.shape for m, v in rows.vectors.items()} == {m: (len(rows), w) for m, w in WIDTHS.items()}
    assert all(np.isfinite(v).all() for v in rows.tokens.values())
    if LITERATURE[name].emotions:
        assert (rows.emotion >= 0).all()
    else:
        assert 2 < np.abs(rows.score).max() <= 3, "scores of CH-SIMS are taken to [-3, 3]"


@pytest.mark.parametrize("name", MAKERS)
def test_no_group_is_in_two_parts_and_every_scored_row_is_scored_once(name: str, tmp_path: Path) -> None:
    rows = read(name, tmp_path)
    scored = []
    for split in splits(rows, 0):
        train, dev = split["train"], split["dev"]
        test = split.final()
        groups = [set(rows.group[part]) for part in (train, dev, test)]
        assert len(set().union(*groups)) == sum(map(len, groups))
        scored.append(test)
    every = np.concatenate(scored)
    assert len(np.unique(every)) == len(every)
    if name == "iemocap4":
        assert len(scored) == 5
        assert len(every) == len(rows)
        assert all(len({str(g)[:5] for g in rows.group[test]}) == 1 for test in scored)


def test_the_official_split_is_kept(tmp_path: Path) -> None:
    rows = read("cmumosi", tmp_path)
    split = splits(rows, 3)[0]
    assert set(rows.group[split["dev"]]) == {"v6", "v7"}
    assert set(rows.group[split.final()]) == {"v8", "v9"}


def test_long_sequences_become_means_of_equal_parts(tmp_path: Path) -> None:
    path = files.mmsa(tmp_path, aligned=False, scale=1.0)
    raw = restricted_pickle.read(path)["train"]
    rows = feature_sets.read("sims", tmp_path)
    for m, name in (("audio", "audio"), ("video", "vision")):
        used = raw[f"{name}_lengths"][1]
        parts = np.array_split(raw[name][1, :used], min(50, used))
        assert np.allclose(rows.tokens[m][1, : len(parts)], [p.mean(0) for p in parts], atol=1e-5)
        assert rows.mask[m][1].sum() == len(parts)
        assert rows.age[m][1, len(parts) - 1] == 0


class Command:
    """What a hostile pickle runs when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_with_code_is_refused_and_nothing_runs(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "aligned_50.pkl"
    path.write_bytes(pickle.dumps({"train": [Command(tmp_path / "run")]}, protocol=protocol))
    with pytest.raises(DataError, match=r"it asks for posix.mkdir; nothing of it was run"):
        feature_sets.read("mosi-aligned", tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "x", b"y", {3}], "b": np.arange(6.0).reshape(2, 3), "c": np.float32(2)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    back = restricted_pickle.read(tmp_path / "x.pkl")
    assert back["a"] == value["a"]
    assert np.array_equal(back["b"], value["b"])
    assert back["c"] == 2


@pytest.mark.parametrize("content", [b"", b"nothing", pickle.dumps({"x": 1})[:-3]])
def test_what_is_no_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "aligned_50.pkl").write_bytes(content)
    with pytest.raises(DataError, match="is not a pickle of plain data"):
        feature_sets.read("mosi-aligned", tmp_path)


def test_a_missing_file_says_which_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CMUMOSI_features_raw_2way.pkl is absent. Get it: .*GCNet"):
        feature_sets.read("cmumosi", tmp_path)
    path = files.gcnet(tmp_path, sessions=False)
    next((tmp_path / "features" / "manet_UTT").iterdir()).unlink()
    with pytest.raises(DataError, match=r"manet_UTT/.* is absent"):
        feature_sets.read("cmumosi", path)


def test_figures_of_scores_are_those_of_the_papers(tmp_path: Path) -> None:
    rows = read("cmumosi", tmp_path)
    rows.score[:4] = [0, 2.6, -2.6, 1.2]
    found = figures(rows, np.arange(4), np.full(4, -1), np.array([0.3, 1.7, -0.2, -1.0], np.float32))
    assert found["acc2_non0"] == pytest.approx(2 / 3), "0 is not scored"
    # Truth + - +, answers + - -: F1 of + is 2/3 with weight 2/3, of - 2/3 with weight 1/3.
    assert found["f1_non0"] == pytest.approx(2 / 3)
    assert found["acc5"] == pytest.approx(2 / 4), "0.3 is 0, and 1.7 is 2 as 2.6 is"


def test_published_rows_are_of_known_sets_and_columns() -> None:
    for row in PUBLISHED:
        assert row.data in LITERATURE
        assert set(row.columns) <= {*COMBINATIONS, *published.RATES}
        assert row.columns or row.mean
        assert all(0 < x < 100 for pair in row.columns.values() for x in pair)
    logged = next(r for r in PUBLISHED if r.data == "cmumosi" and r.system == "MCULoRA")
    assert np.round(np.mean([a for a, _ in logged.columns.values()]), 2) == 73.72, "the mean that the log prints"


TINY = """
data = "cmumosi"
batch = 4
epochs = [1, 1, 0]
dpft_from = 1
model = { width = 8, blocks = 1, heads = 2, pool = "adaptive" }
"""


@pytest.mark.parametrize("name", ["iemocap4", "cmumosi", "mosi-aligned", "meld-mmgcn"])
def test_the_command_prints_ours_beside_the_published_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, config, out = MAKERS[name](tmp_path), tmp_path / "tiny.toml", tmp_path / "out"
    config.write_text(TINY)
    line = ["reproduce", name, "--features", str(path), "--config", str(config), "--seeds", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", line)
    reproduce.main()
    first = capsys.readouterr().out
    for row in (r for r in PUBLISHED if r.data == name):
        assert f"| {row.system} |" in first
    assert first.count("| **ours** |") == 2
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("*.safetensors")}
    assert len(stamps) == (5 if name == "iemocap4" else 1)
    reproduce.main()
    assert capsys.readouterr().out == first
    assert {p: p.stat().st_mtime_ns for p in out.glob("*.safetensors")} == stamps, "finished trainings are kept"


def test_the_configuration_of_the_papers_can_be_read() -> None:
    assert experiment.load(reproduce.PAPER).size == "paper"
