"""Figures of ``edge-mer bench``: a measured value, its target, and whether it was met."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct


class Figure(Struct, frozen=True):
    """``target`` is the most that ``value`` may be; without one the figure is stated only."""

    name: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.target is None else "pass" if self.value <= self.target else "MISS"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def spread(
    name: str, values: Sequence[float], unit: str, p95: float | None = None, note: str = "", p99: float | None = None
) -> list[Figure]:
    """p50, p95 and p99, with the target on p95 or p99."""
    note = f"{note}, n={len(values)}" if note else f"n={len(values)}"
    targets = {50: None, 95: p95, 99: p99}
    return [
        Figure(f"{name} p{share}", round(percentile(values, share / 100), 3), unit, target, note)
        for share, target in targets.items()
    ]


def table(figures: Iterable[Figure]) -> list[str]:
    lines = [f"{'figure':<50}{'value':>10} {'unit':<6}{'target':>9}  verdict"]
    for f in figures:
        target = "" if f.target is None else f"<= {f.target:g}"
        note = f"  ({f.note})" if f.note else ""
        lines.append(f"{f.name:<50}{f.value:>10.3f} {f.unit:<6}{target:>9}  {f.verdict:<4}{note}")
    return lines
