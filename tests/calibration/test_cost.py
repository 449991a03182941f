"""Who is refused: a measured combination that loses more than a point, whatever the others gain."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration import report
from calibration.cost import FACE, Costs, lost
from edge_mer.contract.domain import COMBINATIONS

BEFORE = {row: {"accuracy": 60.0, "uar": 58.0} for row in (*COMBINATIONS, FACE)}


def changed(row: str, **points: float) -> dict[str, dict[str, float]]:
    return {**BEFORE, row: {**BEFORE[row], **{n: BEFORE[row][n] + p for n, p in points.items()}}}


@pytest.mark.parametrize("row", ["a", "v", "av", "t", FACE])
def test_more_than_a_point_on_measured_windows_is_too_much(row: str) -> None:
    assert lost(BEFORE, changed(row, accuracy=-1.2), 1.0) == [f"{row} accuracy -1.2"]
    assert lost(BEFORE, changed(row, uar=-1.1, accuracy=+5), 1.0) == [f"{row} uar -1.1"]
    assert lost(BEFORE, changed(row, accuracy=-1.0), 1.0) == []


@pytest.mark.parametrize("row", ["at", "tv", "atv"])
def test_label_paired_windows_prove_nothing_and_refuse_nothing(row: str) -> None:
    assert lost(BEFORE, changed(row, accuracy=-30), 1.0) == []


def test_the_table_has_every_combination_and_the_verdict() -> None:
    costs = Costs({"FP32": BEFORE, "fusion": changed("av", accuracy=-2.0)}, ("text.onnx",), ("fusion",), 1.0, "f00d")
    text = costs.markdown()
    assert "fusion weights `f00d`" in text
    assert "| av | 60.0 / 58.0 | -2.0 / +0.0 |" in text
    assert "| atv (label-paired, not judged) |" in text
    assert text.endswith("Kept in INT8: text.onnx. Refused: fusion.")


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    report.section(path, "INT8", "old")
    report.section(path, "Confidence", "theirs")
    report.section(path, "INT8", "new\n\n| a |\n")
    text = path.read_text()
    assert text.startswith("# Calibration results")
    assert "old" not in text
    assert text.index("## INT8\n\nnew") < text.index("## Confidence\n\ntheirs")
    assert text.count("## ") == 2
