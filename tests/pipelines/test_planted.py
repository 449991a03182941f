"""A planted conflict is there, as large as it was planted, and diagnostics find it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.data.splits import splits
from pipelines.study import diagnostics, planted

QUICK = replace(planted.PLAN, model=planted.MODEL, epochs=(2, 1, 0))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("conflict", [0.0, 0.5, 2.0])
def test_words_beside_the_voice_are_subtracted_as_much_as_planted(conflict: float) -> None:
    rows = planted.planted(conflict)
    words = rows.vectors["text"].mean(1), rows.vectors["audio"].mean(1)
    alone = np.corrcoef(words[0], rows.score)[0, 1]
    assert abs(alone) > 0.3, "words alone speak of the score"
    best = planted.best_linear(rows)
    gain = best["at"] - best["a"]
    assert gain == pytest.approx(0, abs=0.01) if conflict == 0 else gain > 0.03, "words tell what to take off the voice"


def test_rows_of_a_seed_are_the_same_and_their_parts_apart() -> None:
    one, again, other = planted.planted(1.0), planted.planted(1.0), planted.planted(1.0, seed=1)
    assert np.array_equal(one.score, again.score)
    assert not np.array_equal(one.score, other.score)
    split = splits(one, 0)[0]
    assert (len(split["train"]), len(split["dev"]), len(split.final())) == tuple(planted.PARTS.values())


def test_the_table_has_a_row_of_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "PLAN", QUICK)
    lines = list(planted.table(2, (1.0,)))
    assert len(lines) == 2 + 1 + len(planted.SYSTEMS)
    assert all(line.count("|") == lines[0].count("|") for line in lines[2:])
    assert "+-" not in lines[3]
    assert all("+-" in line for line in lines[4:]), "every other row is compared with the full model"


def test_diagnostics_measure_conflict_experts_and_speed(tmp_path: Path) -> None:
    rows = planted.planted(1.0)
    found = diagnostics.diagnose(rows, QUICK)
    assert np.allclose(np.diag(found.combinations), 1, atol=1e-5)
    assert np.allclose(found.combinations, found.combinations.T, atol=1e-6)
    assert found.tasks is None, "there is one task"
    for m in rows.dims:
        assert found.load[m].sum() == pytest.approx(1)
        assert 0 <= found.entropy[m] <= 1
        assert len(found.speeds[m]) == sum(QUICK.epochs) - 1
        assert min(found.speeds[m]) > 0
    text = diagnostics.report("planted", found, found)
    assert text.count("\n| audio |") == 1
    diagnostics.figure("planted", found, found, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_speed_is_the_relative_change_of_one_branch() -> None:
    before = {"branches.audio.w": torch.tensor([3.0, 4.0]), "branches.text.w": torch.ones(2)}
    after = {"branches.audio.w": torch.tensor([3.0, 3.0]), "branches.text.w": torch.zeros(2)}
    assert diagnostics.moved(before, after, "audio") == pytest.approx(0.2)
    assert diagnostics.moved(before, after, "text") == pytest.approx(1.0)
