"""The table that ``edge-mer demo`` leaves behind."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Final

from edge_mer.demo.director import Director
from edge_mer.demo.showcase import SceneResult, Showcase

WIDTH: Final = 78
HONESTY: Final = (
    "These faces are means of training pictures: they show what the product does, and prove nothing about people. "
    "How often it is right on people stands in edge_mer/models/CARDS.md."
)


def summary(show: Showcase, program: str) -> list[str]:
    """Lines of text: scenes, mask and crash, what this proves, and the next commands."""
    lines = [f"{'scene':<7}{'intended':<11}{'result':<10}estimates of the windows with a face"]
    lines += [_row(number, result) for number, result in enumerate(show.results, 1)]
    lines += _events(show.director) if show.director is not None else []
    lines += [f"not as planned: {text}" for text in show.failed]
    lines += textwrap.wrap(HONESTY, WIDTH)
    return [*lines, "next:", *(f"  {program} {command}" for command in ("doctor", "demo --media FILE", "run"))]


def counts(result: SceneResult) -> str:
    """``happy 10 of 11, withheld 1 (low confidence)``."""
    parts = [f"{label} {count} of {result.windows}" for label, count in result.labels.most_common()]
    if result.reasons:
        parts.append(f"withheld {result.reasons.total()} ({_first(result.reasons)})")
    return ", ".join(parts) or "none"


def _row(number: int, result: SceneResult) -> str:
    return f"{number:<7}{result.scene.intended:<11}{result.verdict:<10}{counts(result)}"


def _first(reasons: Counter[str]) -> str:
    return reasons.most_common(1)[0][0]


def _events(director: Director) -> list[str]:
    lines = []
    for step, took_us in director.reached:
        after = f"{took_us / 1e6:.1f} s"
        if step.mask and director.receipts:
            numbers = " and ".join(str(n) for n in director.receipts)
            lines.append(
                f"{step.title}: closed and proven in {director.proven_us / 1000:.0f} ms (receipts {numbers}); "
                f"the estimate went on from the face"
            )
        elif step.kill is not None:
            lines.append(f"{step.title}: estimates from it again after {after}")
    return [line for text in lines for line in textwrap.wrap(text, WIDTH)]
