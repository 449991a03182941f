"""Reliability diagrams and risk-coverage curves of the measured combinations as one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calibration.fitting import Judgement
from calibration.reliability import bins, risk_coverage
from edge_mer.contract.domain import Combination
from edge_mer.contract.errors import missing_extra


def draw(path: Path, judged: Mapping[Combination, Judgement]) -> None:
    """One column per combination: confidence against accuracy in equal-mass bins, and risk against coverage.

    Raises MissingExtra without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "train") from error

    figure = Figure(figsize=(3.2 * len(judged), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(judged), squeeze=False)
    for column, (name, j) in enumerate(judged.items()):
        shown, curve = bins(j.confidence, j.correct), risk_coverage(j.confidence, j.correct)
        top, bottom = axes[0][column], axes[1][column]
        top.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        top.plot(shown.confidence, shown.accuracy, "o-", markersize=3)
        top.set(
            title=f"{name}: ECE {j.after.ece:.3f}, null {j.after.null:.3f}, n = {j.after.samples}",
            xlabel="confidence",
            ylabel="accuracy",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        top.title.set_fontsize(8)
        bottom.plot(curve.coverage, curve.risk)
        bottom.set(xlabel="share answered", ylabel=f"errors (area {curve.area:.3f})", xlim=(0, 1), ylim=(0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
