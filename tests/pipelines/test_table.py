"""The queue of the table: what is missing is filled, what is finished is kept, what is preliminary says so."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import feature_sets as sets
from pipelines.data.feature_sets import Rows
from pipelines.data.splits import splits
from pipelines.fusion.estimates import Answers, columns
from pipelines.fusion.trainer import OutOfTime
from pipelines.study import experiment_cell as cells
from pipelines.study import results, table
from pipelines.study.experiment_cell import SYSTEMS, Cell
from pipelines.study.table import Job
from tests.pipelines.feature_files import write


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sets.read("mosi", write(tmp_path_factory.mktemp("mosi"), "mosi"))


def cell(rows: Rows, system: str, seed: int, noise: float) -> Cell:
    """Answers that are right but for noise."""
    random = np.random.default_rng(seed)
    index = np.concatenate([s.final() for s in splits(rows, 0)])
    wrong = {c: random.normal(size=len(index)) * noise for c in columns(rows.layout)}
    predicted = {c: np.clip(rows.score[index] + wrong[c], -3, 3).astype(np.float32) for c in wrong}
    answers = Answers({c: np.full(len(index), -1) for c in predicted}, predicted)
    return Cell("mosi", system, seed, rows.sha256, index, answers, {"recipe": cells.recipe(rows, system, seed)})


def test_a_finished_cell_survives_its_file(rows: Rows, tmp_path: Path) -> None:
    one = cell(rows, "full", 3, 1.0)
    cells.write(tmp_path / "3.json", one)
    back = cells.read(tmp_path / "3.json")
    assert (back.data, back.system, back.seed, back.sha256) == ("mosi", "full", 3, rows.sha256)
    assert np.array_equal(back.index, one.index)
    for c in columns(rows.layout):
        assert np.allclose(back.answers.sentiment[c], one.answers.sentiment[c], atol=1e-4)
        assert np.array_equal(back.answers.emotion[c], one.answers.emotion[c])


def test_the_queue_holds_what_is_missing_cheapest_first(rows: Rows, tmp_path: Path) -> None:
    every = {"mosi": rows, "meld": sets.read("meld", write(tmp_path, "meld"))}
    whole = table.queue(every, list(SYSTEMS), 2, tmp_path)
    baselines = [SYSTEMS[j.system].baseline is not None for j in whole]
    assert baselines == sorted(baselines, reverse=True)
    assert [j.data for j in whole if j.system == "single-task"] == ["meld"] * 2
    assert len(whole) == len(set(whole))
    done = Job("mosi", "linear", 1)
    cells.write(done.path(tmp_path), cell(rows, "linear", 1, 1.0))
    assert set(whole) - set(table.queue(every, list(SYSTEMS), 2, tmp_path)) == {done}


def test_a_cell_of_other_data_features_or_configuration_is_missing(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_set, job = {"mosi": rows}, Job("mosi", "full", 0)

    def missing() -> bool:
        return bool(table.queue(of_set, ["full"], 1, tmp_path))

    cells.write(job.path(tmp_path), cell(rows, "full", 0, 1.0))
    assert not missing()
    cells.write(job.path(tmp_path), dataclasses.replace(cell(rows, "full", 0, 1.0), sha256="0" * 64))
    assert missing()
    cells.write(job.path(tmp_path), cell(rows, "full", 0, 1.0))
    wider = {**rows.tokens, "text": np.concatenate([rows.tokens["text"]] * 2, 2)}
    of_set["mosi"] = dataclasses.replace(rows, tokens=wider)
    assert missing()
    of_set["mosi"] = rows
    monkeypatch.setitem(SYSTEMS, "full", dataclasses.replace(SYSTEMS["full"], changes={"batch": 5}))
    assert missing()


def test_a_cell_is_run_scored_and_written(rows: Rows, tmp_path: Path) -> None:
    job = Job("mosi", "linear", 0)
    (out,) = table.fill([job], {"mosi": rows}, tmp_path, 60)
    assert isinstance(out, Cell)
    assert sorted(out.index) == sorted(np.flatnonzero(rows.split == "dev"))
    assert cells.read(job.path(tmp_path)).system == "linear"
    assert table.queue({"mosi": rows}, ["linear"], 1, tmp_path) == []


def test_a_cell_that_runs_out_of_time_is_not_written_and_goes_on_later(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [OutOfTime("cap"), cell(rows, "full", 0, 1.0)]

    def run(*arguments: object) -> Cell:
        outcome = left.pop(0)
        if isinstance(outcome, OutOfTime):
            raise outcome
        return outcome

    monkeypatch.setattr(cells, "run", run)
    job = Job("mosi", "full", 0)
    (first,) = table.fill([job], {"mosi": rows}, tmp_path, 0)
    assert isinstance(first, OutOfTime)
    assert table.queue({"mosi": rows}, ["full"], 1, tmp_path) == [job]
    (second,) = table.fill([job], {"mosi": rows}, tmp_path, time.monotonic())
    assert isinstance(second, Cell)


def test_the_results_name_seeds_gaps_and_differences(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "DRAWS", 30)
    found = [cell(rows, "full", 0, 0.3), cell(rows, "full", 1, 0.3), cell(rows, "linear", 0, 4.0)]
    text = results.render({"mosi": rows}, found, 5)
    assert "python -m pipelines.table" in text
    lines = text.splitlines()
    full = next(line for line in lines if line.startswith("| full MCULoRA"))
    assert full.endswith("| 2/5 |")
    assert "±" in full
    assert next(line for line in lines if line.startswith("| linear")).endswith("| 1/5 |")
    assert "No seed yet: RBF-kernel SVM specialists" in text
    difference = next(line for line in lines if line.startswith("| linear specialists | sentiment_accuracy"))
    assert "| +" in difference
    assert difference.endswith("| 1 |")


def test_parts_of_the_queue_are_filled_side_by_side() -> None:
    assert table.part_of("2/4") == (2, 4)
    for wrong in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(ValueError, match="expected K/N"):
            table.part_of(wrong)


def test_a_table_under_torchrun_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its processes would write each other's cells."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("sys.argv", ["table", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        table.main()
    assert "--part 1/N" in capsys.readouterr().err
