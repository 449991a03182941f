"""The staged trainer: it learns, continues after a kill to the same bits, and never sees the scored rows."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.contract.errors import ConfigError
from edge_mer.model import MCULoRA
from pipelines import train as command
from pipelines.data import feature_sets as sets
from pipelines.data.corpora import DataError
from pipelines.data.feature_sets import Rows
from pipelines.data.holdout_guard import Splits
from pipelines.data.splits import splits
from pipelines.fusion import experiment, saved, trainer
from pipelines.fusion.estimates import patterns, quality
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.predictor import joined, predictor, routed
from pipelines.fusion.saved import Saved
from pipelines.fusion.trainer import RESUME, OutOfTime, train
from pipelines.study import evaluate
from tests.pipelines.feature_files import write

TINY: dict[str, Any] = {"width": 8, "heads": 2, "blocks": 1, "expert_blocks": 1, "dropout": 0.0}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def mosi(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sets.read("mosi", write(tmp_path_factory.mktemp("mosi"), "mosi"))


@pytest.fixture(scope="module")
def meld(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sets.read("meld", write(tmp_path_factory.mktemp("meld"), "meld"))


def plan(data: str = "mosi", **changes: Any) -> Experiment:
    values = {"data": data, "batch": 4, "epochs": (1, 2, 1), "rates": (1e-2, 1e-2), "dpft_from": 1, "model": TINY}
    return experiment.of({**values, **changes})


def fit(rows: Rows, out: Path, e: Experiment | None = None, **options: Any) -> Saved:
    fabric = Fabric(accelerator="cpu", devices=1)
    return train(e or plan(rows.layout.name), rows, splits(rows, 0)[0], out, fabric=fabric, **options)


class Killed(Exception):
    pass


def kill_after(epochs: int) -> Any:
    def after(epoch: int) -> None:
        if epoch == epochs:
            raise Killed

    return after


def test_it_learns_under_every_combination(mosi: Rows, tmp_path: Path) -> None:
    split = splits(mosi, 0)[0]
    e = plan(epochs=(10, 2, 0), batch=2, token_dropout=0.1)
    out = train(e, mosi, split, tmp_path, fabric=Fabric(accelerator="cpu", devices=1))
    scored = split.final()
    predict = predictor(out.model(), mosi, scored, out.scales)
    for c in COMBINATIONS:
        assert quality(mosi, scored, predict, (c,)) > 0.8


@pytest.mark.parametrize(("epochs", "average"), [(1, 0.0), (2, 0.5), (3, 0.5)])
def test_a_killed_run_continues_to_the_same_bits(mosi: Rows, tmp_path: Path, epochs: int, average: float) -> None:
    e = plan(average=average)
    whole = fit(mosi, tmp_path / "whole", e)
    with pytest.raises(Killed):
        fit(mosi, tmp_path / "cut", e, after_epoch=kill_after(epochs))
    seen: list[int] = []
    again = fit(mosi, tmp_path / "cut", e, after_epoch=seen.append)
    assert seen == list(range(epochs + 1, 5))
    assert again.facts == whole.facts
    assert all(torch.equal(again.weights[k], v) for k, v in whole.weights.items())


def test_killed_process_loses_at_most_an_epoch(tmp_path: Path) -> None:
    config = tmp_path / "mosi.toml"
    config.write_text('data = "mosi"\nbatch = 4\nepochs = [9999, 0, 0]\nmodel = { width = 8, blocks = 1, heads = 2 }\n')
    source, kept = write(tmp_path, "mosi"), tmp_path / "mosi.work" / RESUME
    line = [sys.executable, "-m", "pipelines.train", str(config), "--data", str(source), "--out", str(tmp_path)]
    reached = [0]
    for _ in range(2):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _epoch(kept) <= reached[-1]:
            select.select([], [], [], 0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        reached.append(_epoch(kept))
        if len(reached) == 2:
            left = torch.load(kept, weights_only=True)
            left["state"]["log"][0]["loss"] = -1.0  # a mark that a fresh start would not have
            torch.save(left, kept)
    assert reached[0] < reached[1] < reached[2]
    assert _state(kept)["log"][0]["loss"] == -1.0, "it began anew"


def _state(kept: Path) -> dict[str, Any]:
    return dict(torch.load(kept, weights_only=True)["state"])


def _epoch(kept: Path) -> int:
    return int(_state(kept)["epoch"]) if kept.is_file() else 0


def test_the_average_of_the_weights_is_what_is_kept(mosi: Rows, tmp_path: Path) -> None:
    """At a rate that makes the weights jump, their average lies between."""
    epochs = {"epochs": (1, 0, 0), "rates": (1.0, 1.0), "batch": 2}
    torch.manual_seed(0)
    start = MCULoRA(plan().model_config(mosi))
    last = fit(mosi, tmp_path / "last", plan(**epochs))
    mean = fit(mosi, tmp_path / "mean", plan(average=0.9, **epochs))

    def moved(weights: Mapping[str, torch.Tensor]) -> float:
        return sum((weights[k] - v).square().sum().item() for k, v in start.state_dict().items())

    assert 0 < moved(mean.weights) < moved(last.weights)


@pytest.mark.parametrize(("keep", "epoch"), [("best", 3), ("last", 4)])
def test_the_kept_epoch_is_the_best_or_the_last_of_the_last_stage(
    keep: str, epoch: int, mosi: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However lucky an epoch before was: a model whose adapters never trained is none."""
    falling = iter([0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(trainer, "quality", lambda *_: next(falling))
    assert fit(mosi, tmp_path, plan(keep=keep, epochs=(2, 2, 0))).facts["epoch"] == epoch


def test_a_run_of_another_configuration_starts_afresh(mosi: Rows, tmp_path: Path) -> None:
    fit(mosi, tmp_path, plan(epochs=(1, 0, 0)))
    seen: list[int] = []
    fit(mosi, tmp_path, plan(epochs=(1, 0, 0), seed=1), after_epoch=seen.append)
    assert seen == [1]


def test_run_out_of_time_raises_and_keeps_its_state(mosi: Rows, tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="after epoch 1"):
        fit(mosi, tmp_path, deadline_s=time.monotonic() - 1)
    seen: list[int] = []
    fit(mosi, tmp_path, after_epoch=seen.append)
    assert seen[0] == 2


def test_training_never_reads_the_scored_rows(mosi: Rows, tmp_path: Path) -> None:
    """Their features and labels are poisoned: any use would make the weights NaN."""
    split = splits(mosi, 0)[0]
    hidden = splits(mosi, 0)[0].final()
    clean = fit(mosi, tmp_path / "clean")
    for values in (mosi.score, *mosi.tokens.values()):
        kept = values[hidden].copy()
        values[hidden] = np.nan
        try:
            poisoned = train(plan(), mosi, split, tmp_path / "poisoned", fabric=Fabric(accelerator="cpu", devices=1))
        finally:
            values[hidden] = kept
        assert all(torch.equal(poisoned.weights[k], v) for k, v in clean.weights.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"fagm": 0},
        {"dpft": False},
        {"ortho": 0.0},
        {"model": {**TINY, "shared_pair": False}},
        {"model": {**TINY, "experts": False}},
        {"model": {**TINY, "adapters": False}},
        {"combinations": ("t",), "complete": 1.0},
    ],
    ids=str,
)
def test_every_ablation_trains(mosi: Rows, tmp_path: Path, changes: dict[str, Any]) -> None:
    out = fit(mosi, tmp_path, plan(epochs=(1, 1, 1), **changes))
    assert all(torch.isfinite(w).all() for w in out.weights.values())


def test_a_single_task_answers_only_that(meld: Rows, tmp_path: Path) -> None:
    index = np.arange(len(meld))
    parts = {}
    for task in ("emotion", "sentiment"):
        out = fit(meld, tmp_path / task, plan("meld", epochs=(1, 1, 0), tasks=(task,)))
        parts[task] = predictor(out.model(), meld, index, out.scales)
    pattern = patterns(meld.layout, "at", len(meld))
    assert np.isnan(parts["emotion"](pattern).sentiment).all()
    assert parts["sentiment"](pattern).emotion.shape[1] == 0
    both = joined(parts["emotion"], parts["sentiment"])(pattern)
    assert both.emotion.shape == (len(meld), 7)
    assert not np.isnan(both.sentiment).any()


def test_a_checkpoint_gives_back_what_was_saved(mosi: Rows, tmp_path: Path) -> None:
    out = fit(mosi, tmp_path / "run")
    saved.save(tmp_path / "m.safetensors", out)
    back = saved.load(tmp_path / "m.safetensors")
    assert (back.experiment, back.config, back.facts) == (out.experiment, out.config, out.facts)
    index = np.arange(len(mosi))
    for c in COMBINATIONS:
        pattern = patterns(mosi.layout, c, len(mosi))
        one, other = (predictor(x.model(), mosi, index, x.scales)(pattern) for x in (out, back))
        assert np.array_equal(one.sentiment, other.sentiment)
    specialist = routed({c: predictor(out.model(), mosi, index, out.scales) for c in COMBINATIONS})
    assert specialist(patterns(mosi.layout, "0.5", len(mosi))).sentiment.shape == (len(mosi),)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is absent; python -m pipelines.train CONFIG.toml"):
        saved.load(tmp_path / "no.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is not a checkpoint"):
        saved.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "iemocap"},
        {"speed": 3},
        {"epochs": (0, 0, 0)},
        {"combinations": ("x",)},
        {"rates": (0, 1)},
        {"keep": "first"},
    ],
)
def test_an_impossible_experiment_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, DataError)):
        plan(**changes)


@pytest.mark.parametrize("name", ["mosi", "ravdess", "meld", "starter"])
def test_the_configurations_that_come_along_can_be_read(name: str) -> None:
    path = Path(command.__file__).parent / "fusion" / "configs" / f"{name}.toml"
    assert experiment.load(path).data == name


def test_the_command_line_trains_and_scores_any_file_of_the_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path, "mosi")
    config = tmp_path / "quick.toml"
    config.write_text('data = "mosi"\nbatch = 4\nepochs = [1, 1, 0]\nmodel = { width = 8, heads = 2, blocks = 1 }\n')
    monkeypatch.setattr("sys.argv", ["train", str(config), "--data", str(data), "--out", str(tmp_path)])
    command.main()
    path = tmp_path / "quick.safetensors"
    own = evaluate.checkpoint(path, data)
    assert (own["split"], own["rows"]) == ("dev", 12)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", "mosi", split=np.full(36, "test"), audio=np.full((36, 73), np.nan))
    monkeypatch.setattr("sys.argv", ["evaluate", str(path), "--data", str(other), "--combinations", "t,tv"])
    capsys.readouterr()
    evaluate.main()
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], list(result["figures"])) == (36, ["tv", "t"])
    monkeypatch.setattr("sys.argv", ["evaluate", str(path), "--data", str(other)])
    with pytest.raises(SystemExit, match="audio row 0 holds NaN"):
        evaluate.main()


def test_a_guarded_split_is_a_plain_one_until_the_end() -> None:
    split = Splits({"train": 1, "dev": 2, "test": 3})
    assert (split["train"], split["dev"], split.final()) == (1, 2, 3)
