"""Training on more data and more processes: little padding, gradients that add up, equal bits under torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file

from edge_mer.contract.errors import ConfigError
from pipelines.data import feature_sets as sets
from pipelines.data.feature_sets import Rows
from pipelines.data.splits import splits
from pipelines.fusion import trainer
from pipelines.fusion.samples import SampleSet
from pipelines.fusion.sources import Epoch, RowSource
from pipelines.fusion.trainer import RESUME
from tests.pipelines.feature_files import arrays, write
from tests.pipelines.test_trainer import fit, plan

LENGTHS = (2, 9, 3, 9, 2, 8, 3, 2, 9, 2, 3, 8)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Videos of 2 to 9 utterances."""
    table = arrays("mosi", groups=len(LENGTHS), each=max(LENGTHS))
    number = {f"v{g:02d}": n for g, n in enumerate(LENGTHS)}
    kept = [i for i, (v, k) in enumerate(zip(table["video_id"], table["utterance_no"], strict=True)) if k < number[v]]
    folder = tmp_path_factory.mktemp("uneven")
    return sets.read("mosi", write(folder, "mosi", **{name: x[kept] for name, x in table.items()}))


def epoch() -> Epoch:
    shares, random = np.full(7, 1 / 7), np.random.default_rng(0)
    return Epoch(shares, np.random.default_rng(0), random, torch.device("cpu"))


def places(rows: Rows, **changes: Any) -> Iterator[tuple[int, int]]:
    """Places and padded places of each batch of an epoch."""
    source = RowSource(plan(scale=False, batch=2, **changes), rows, splits(rows, 0)[0]["train"], {})
    for batch in source.batches(epoch()):
        yield int((batch.combination >= 0).sum()), batch.combination.numel()


def test_a_batch_is_as_long_as_its_longest_dialogue(uneven: Rows) -> None:
    data = SampleSet(uneven, np.arange(len(uneven)), {})
    some = data.take(torch.tensor([0, 2]))
    assert some.row.shape == (2, 3)
    assert some.windows["audio"].tokens.shape == (2, 3, 73)
    assert (some.row[0, 2], some.windows["audio"].mask[0, 2]) == (-1, 0)
    assert (data.lengths == torch.tensor(LENGTHS)).all()


def test_the_places_of_a_sample_are_the_same_among_short_and_long_ones(uneven: Rows) -> None:
    data = SampleSet(uneven, np.arange(len(uneven)), {})
    alone, among = data.take(torch.tensor([2])), data.take(torch.tensor([1, 2]))
    for name in ("row", "emotion", "ordinal"):
        assert torch.equal(getattr(alone, name)[0], getattr(among, name)[1, :3])
    for m, window in alone.windows.items():
        assert torch.equal(window.tokens[0], among.windows[m].tokens[1, :3])
        assert not among.windows[m].tokens[1, 3:].any()


def test_buckets_take_every_sample_once_with_less_padding(uneven: Rows) -> None:
    plain, sorted_ = list(places(uneven)), list(places(uneven, bucket=4))
    real = sum(n for n, _ in plain)
    assert real == sum(n for n, _ in sorted_) == sum(LENGTHS[:8])
    assert sum(n for _, n in sorted_) < sum(n for _, n in plain)


def test_gradients_of_two_batches_are_those_of_one_twice_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight videos of three utterances, so that the mean over both batches is the mean over all."""
    rows = sets.read("mosi", write(tmp_path, "mosi"))
    still = {**plan().model, "gate_noise": 0.0, "adapter_dropout": 0.0}
    off = {"token_dropout": 0.0, "noise": 0.0, "fagm": 0, "ortho": 0.0, "balance": 0.0, "complete": 1.0}
    seen: list[list[torch.Tensor]] = []

    def spy(self: Fabric, model: Any, optimizer: Any, **options: Any) -> None:
        seen.append([p.grad.clone() for p in model.parameters() if p.grad is not None])

    monkeypatch.setattr(Fabric, "clip_gradients", spy)
    for batch, added in ((8, 1), (4, 2), (4, 1)):
        e = plan(batch=batch, accumulate=added, combinations=("atv",), model=still, epochs=(1, 0, 0), **off)
        fit(rows, tmp_path / f"{batch}.{added}", e)
    whole, halves, *each = seen
    assert len(each) == 2, "without it, every batch is a step"
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(whole, halves, strict=True))
    assert not all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(whole, each[0], strict=True))


def test_a_stage_without_a_better_epoch_ends_early(
    uneven: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = iter([0.1, 0.3, 0.2, 0.2, 0.4, 0.1, 0.1])
    monkeypatch.setattr(trainer, "quality", lambda *_: next(reached))
    out = fit(uneven, tmp_path, plan(epochs=(9, 9, 0), patience=2))
    assert [entry["stage"] for entry in out.facts["log"]] == [0, 0, 0, 0, 1, 1, 1]
    assert out.facts["epoch"] == 10, "the first of stage 1, the best there"


def test_patience_needs_a_best_epoch() -> None:
    with pytest.raises(ConfigError, match=r'patience 3 needs keep = "best"'):
        plan(keep="last", patience=3)


CONFIG = """
data = "mosi"
batch = 4
bucket = 2
epochs = [2, 2, 0]
dpft_from = 1
model = { width = 8, blocks = 1, heads = 2 }
"""


def torchrun(folder: Path, data: Path, stop_after: int | None = None) -> Path:
    """Two processes; ``stop_after``: killed once that many epochs are saved."""
    config = folder / "tiny.toml"
    config.write_text(CONFIG)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += ["-m", "pipelines.train", str(config), "--data", str(data), "--out", str(folder)]
    here = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, env=here, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    kept = folder / "tiny.work" / RESUME
    if stop_after is not None:
        while process.poll() is None:
            if kept.is_file() and torch.load(kept, weights_only=True)["state"]["epoch"] >= stop_after:
                os.killpg(process.pid, signal.SIGKILL)
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.wait()
        process.stdout.close()
        return kept
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output.decode()[-3000:]
    return folder / "tiny.safetensors"


@pytest.mark.end_to_end
def test_two_processes_give_the_same_bits_also_after_a_kill(tmp_path: Path) -> None:
    data = write(tmp_path, "mosi")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    torchrun(killed, data, stop_after=1)
    one, other = (load_file(torchrun(folder, data)) for folder in (whole, killed))
    for name, weights in one.items():
        assert torch.equal(weights, other[name]), name
