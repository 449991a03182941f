"""One training of an encoder: what is kept is an average, and a broken-off training goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.encoders import checkpoint
from pipelines.encoders.progress import Progress, begin, numbers_of


def train(path: Path, until: int, epochs: int = 4) -> Progress[nn.Sequential]:
    """A small net with dropout and batch norm, trained on random numbers from where ``path`` stands."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 1))
    progress = begin(net, path, epochs, 1e-2, 0.9, clip=1.0)
    for epoch in range(progress.resume(), until):
        net.train()
        random, numbers = numbers_of(1, epoch)
        for step in range(3):
            x = torch.randn(8, 3, generator=random) * float(numbers.random())
            progress.step((net(x) - x.sum(1, keepdim=True)).square().mean(), (epoch + step / 3) / epochs)
        progress.save({"epoch": epoch}, epoch + 1)
    return progress


def test_a_broken_off_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    train(tmp_path / "whole.pt", 4)
    train(tmp_path / "broken.pt", 2)
    train(tmp_path / "broken.pt", 4)
    whole, broken = (checkpoint.load(tmp_path / n) for n in ("whole.pt", "broken.pt"))
    assert whole.facts == broken.facts == {"epoch": 3}
    assert all(torch.equal(whole.weights[n], broken.weights[n]) for n in whole.weights)


def test_a_finished_training_is_not_resumed_but_done_again(tmp_path: Path) -> None:
    train(tmp_path / "net.pt", 4)
    assert checkpoint.load(tmp_path / "net.pt").resume is None
    assert train(tmp_path / "net.pt", 0).resume() == 0


def test_the_average_follows_the_net_slowly_and_ends_where_it_stays(tmp_path: Path) -> None:
    progress = begin(nn.Linear(1, 1), tmp_path / "net.pt", 1, 0.0, 0.9)
    nn.init.constant_(progress.net.weight, 0.0)
    zero = progress.net.weight.sum() * 0
    progress.step(zero, 0.5)
    nn.init.constant_(progress.net.weight, 1.0)
    progress.step(progress.net.weight.sum() * 0, 0.5)
    assert 0 < progress.kept.weight.item() < 0.2
    for _ in range(200):
        progress.step(progress.net.weight.sum() * 0, 0.5)
    assert progress.kept.weight.item() == pytest.approx(1, abs=1e-3)
