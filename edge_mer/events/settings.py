"""Settings of events: what ``python -m calibration.alarms --fit`` measured, and what a budget makes of it.

The file ``events.json`` beside the fusion graphs has, per label and combination, the ratio of ``evidence`` and a curve:
thresholds with their measured false events per hour and recall. It belongs to one fusion model (weights and
confidence); with another one events are off. A budget takes the lowest threshold whose upper bound is within it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import Combination, EventLabel
from edge_mer.contract.errors import ModelError
from edge_mer.events.evidence import Ratio

HOUR_US: Final = 3_600_000_000
FILE: Final = "events.json"
FIX: Final = "run: python -m calibration.alarms --fit"
# An event that finds fewer bursts than this is off: it would be no event.
LEAST_RECALL: Final = 0.1


class Point(Struct, frozen=True):
    """One threshold (nats). ``wrong_per_hour`` was measured on unlike people and sounds, ``most_per_hour`` is its upper
    95 % limit by person; ``recall``: of bursts of 3 s, 10 dB over the rest; None where there were none."""

    threshold: float
    wrong_per_hour: float
    most_per_hour: float
    recall: float | None


class Fitted(Struct, frozen=True):
    """Of one label and combination; ``curve`` by growing threshold. ``hours`` of negatives of ``people``."""

    ratio: Ratio
    curve: tuple[Point, ...]
    hours: float
    people: int


class EventFile(Struct, frozen=True):
    """``model``: of the fusion that was measured; ``hop_us`` and ``window_us``: as they were then."""

    model: str
    hop_us: int
    window_us: int
    labels: dict[EventLabel, dict[Combination, Fitted]]


class Rule(Struct, frozen=True):
    """``hours_per_wrong``: at most one wrong event in so many hours, measured; ``proven_hours``: by the anytime bound
    of ``edge_mer.events.fold`` alone."""

    threshold: float
    hours_per_wrong: float
    proven_hours: float


class EventSettings(Struct, frozen=True):
    """Stored in the journal's opening, because a replay must use the same. ``weight``: of one estimate's evidence."""

    hop_us: int
    weight: float
    minimum_us: int
    gap_us: int
    ratios: dict[EventLabel, dict[Combination, Ratio]]
    rules: dict[EventLabel, dict[Combination, Rule]]
    factors: dict[str, float] = {}


def read(directory: Path) -> EventFile | None:
    """None where there is no file. Raises ModelError for a damaged one."""
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=EventFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); {FIX}") from error


def choose(fitted: Fitted, per_hour: float, hop_us: int) -> Rule | str:
    """The rule of a budget, or why there is none."""
    for point in fitted.curve:
        if point.most_per_hour <= per_hour:
            if point.recall is not None and point.recall < LEAST_RECALL:
                return f"at {1 / per_hour:.3g} h per wrong event only {point.recall:.0%} of bursts would be found"
            proven = math.exp(min(point.threshold, 50.0)) * hop_us / HOUR_US
            return Rule(point.threshold, 1 / point.most_per_hour, proven)
    least = min((p.most_per_hour for p in fitted.curve), default=math.inf)
    return f"the least that is measured is one wrong event in {1 / least:.3g} h, {1 / per_hour:.3g} h are asked for"


def settings_of(
    file: EventFile,
    budgets: Mapping[EventLabel, float],
    minimum_us: int,
    gap_us: int,
    factors: Mapping[str, float],
) -> tuple[EventSettings, dict[str, str]]:
    """``budgets``: wrong events per hour. Also what is off (``angry/av``), with the reason."""
    ratios: dict[EventLabel, dict[Combination, Ratio]] = {}
    rules: dict[EventLabel, dict[Combination, Rule]] = {}
    off: dict[str, str] = {}
    for label, per_hour in budgets.items():
        for combination, fitted in file.labels.get(label, {}).items():
            ratios.setdefault(label, {})[combination] = fitted.ratio
            rule = choose(fitted, per_hour, file.hop_us)
            if isinstance(rule, str):
                off[f"{label}/{combination}"] = rule
            else:
                rules.setdefault(label, {})[combination] = rule
    weight = file.hop_us / file.window_us
    return EventSettings(file.hop_us, weight, minimum_us, gap_us, ratios, rules, dict(factors)), off
