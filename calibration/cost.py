"""What a form of the models costs in accuracy, per combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_mer.domain import COMBINATIONS
from pipelines import evaluate
from pipelines.export import MEASURED

Figures = Mapping[str, Mapping[str, float]]
"""By row (a combination, or "face"), then by figure, in points of 100."""

# Those that a loss is judged by; higher is better.
JUDGED: Final = ("accuracy", "uar", "sentiment_weighted_f1")
FACE: Final = "face"


def figures_of(root: Path, models: Path) -> Figures:
    """Every combination, and the expression network alone, on dev splits through the device's own code."""
    rows: dict[str, dict[str, float]] = {}
    for c, found in zip(COMBINATIONS, evaluate.fusion(root, models).values(), strict=True):
        rows[c] = _points(next(iter(found.values())))
    rows[FACE] = _points(next(iter(evaluate.face(root, models).values())))
    return rows


def lost(before: Figures, after: Figures, limit: float) -> list[str]:
    """The measured rows, with the figure, that lose more than ``limit`` points."""
    return [
        f"{row} {name} {after[row][name] - before[row][name]:+.1f}"
        for row in (*MEASURED, FACE)
        for name in JUDGED
        if name in before[row] and after[row][name] < before[row][name] - limit - 1e-9
    ]


@dataclass(frozen=True, slots=True)
class Costs:
    """``figures`` by form, FP32 first; ``kept`` and ``refused`` name the parts in INT8."""

    figures: Mapping[str, Figures]
    kept: Sequence[str]
    refused: Sequence[str]
    limit: float

    def markdown(self) -> str:
        base = self.figures["FP32"]
        forms = [f for f in self.figures if f != "FP32"]
        head = ["windows", "FP32 accuracy / UAR", *(f"{f} in INT8" for f in forms)]
        lines = [_row(head), _row(["---"] * len(head))]
        for row in (*COMBINATIONS, FACE):
            name = row if row in (*MEASURED, FACE) else f"{row} (label-paired, not judged)"
            fp32 = f"{base[row]['accuracy']:.1f} / {base[row]['uar']:.1f}"
            lines.append(_row([name, fp32, *(_delta(base[row], self.figures[f][row]) for f in forms)]))
        verdict = f"Kept in INT8: {', '.join(self.kept) or 'nothing'}. Refused: {', '.join(self.refused) or 'nothing'}."
        return "\n".join([
            "`python -m calibration.int8`: ranges from train data, cost on dev through the device's own code.",
            "A cell is the change of accuracy / UAR / sentiment weighted F1 against FP32, in points; a part",
            f"that loses more than {self.limit:g} on measured windows is refused.",
            "",
            *lines,
            "",
            verdict,
        ])  # fmt: skip


def _delta(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return " / ".join(f"{after[n] - before[n]:+.1f}" for n in JUDGED if n in before)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _points(found: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in found.items()}
