"""The small controls: they answer every pattern, learn, and do not look at what is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from pipelines.data import feature_sets as sets
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import layout_of
from pipelines.data.splits import splits
from pipelines.fusion.estimates import patterns, quality
from pipelines.study.baselines import BASELINES, MLP, Router, Schedule, network
from tests.pipelines.feature_files import write


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(scope="module", params=["mosi", "meld"])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return sets.read(request.param, write(tmp_path_factory.mktemp("sets"), request.param))


@pytest.mark.parametrize("name", BASELINES)
def test_every_control_learns_what_is_plain_to_see(rows: Rows, name: str) -> None:
    split = splits(rows, 0)[0]
    fitted = BASELINES[name](rows, split, 0)
    scored = split.final()
    full = (rows.layout.combinations[0],)
    assert quality(rows, scored, lambda pattern: fitted(rows, scored, pattern), full) > 0.55
    predicted = fitted(rows, scored, patterns(rows.layout, "0.5", len(scored)))
    assert predicted.emotion.shape == (len(scored), len(rows.layout.emotions))
    assert np.isfinite(predicted.sentiment).all()


@pytest.mark.parametrize("make", [MLP, Router])
def test_an_absent_modality_cannot_change_the_answer(make: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    net = make({"audio": 5, "text": 4}, 2).eval()
    x, present = [torch.randn(3, 5), torch.randn(3, 4)], torch.tensor([[True, False]] * 3)
    other = [x[0], torch.full((3, 4), torch.nan)]
    assert torch.equal(net(x, present), net(other, present))
    assert not torch.equal(net(x, present), net([x[0] + 1, x[1]], present))


def test_the_mlp_has_43_thousand_parameters_on_mosi() -> None:
    assert sum(p.numel() for p in MLP(layout_of("mosi").widths, 1).parameters()) == pytest.approx(43_000, rel=0.02)


def test_the_same_seed_gives_the_same_answers(tmp_path: Path) -> None:
    rows = sets.read("mosi", write(tmp_path, "mosi"))
    index, pattern = np.arange(len(rows)), patterns(layout_of("mosi"), "t", len(rows))

    def values(seed: int) -> np.ndarray:
        fit = network(MLP, dropout=True, plan=Schedule(epochs=2))
        return fit(rows, splits(rows, 0)[0], seed)(rows, index, pattern).sentiment

    assert np.array_equal(values(1), values(1))
    assert not np.array_equal(values(1), values(2))
