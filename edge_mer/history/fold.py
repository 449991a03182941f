"""From public estimates to hours: how long each label was given, and each reason for none. One pure fold.

Only the first publication of a window counts: not its revisions, and not its final repetition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from msgspec import Struct

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Combination, Emotion, Modality, modalities_of
from edge_mer.contract.messages import Estimate

K = TypeVar("K")
HOUR_S = 3600
MASKED = ("masked", "hard")
NO_REASON = "no reason"


class Tally(Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds with each label, and without one for each reason."""

    labels: dict[Emotion, int] = {}
    reasons: dict[str, int] = {}

    @property
    def total_ms(self) -> int:
        return sum(self.labels.values()) + sum(self.reasons.values())

    def plus(self, other: Tally) -> Tally:
        return Tally(summed(self.labels, other.labels), summed(self.reasons, other.reasons))


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour. ``masked_ms``: how long each modality was masked. ``counted_ms``: the time of all windows, which stays
    when tallies are erased."""

    tallies: Mapping[Combination, Tally] = field(default_factory=dict)
    masked_ms: Mapping[Modality, int] = field(default_factory=dict)
    counted_ms: int = 0

    def plus(self, other: Hour) -> Hour:
        tallies = dict(self.tallies)
        for combination, tally in other.tallies.items():
            tallies[combination] = tallies.get(combination, Tally()).plus(tally)
        return Hour(tallies, summed(self.masked_ms, other.masked_ms), self.counted_ms + other.counted_ms)

    def without(self, modalities: Collection[Modality]) -> Hour:
        """Nothing that was estimated with any of these modalities."""
        kept = {c: t for c, t in self.tallies.items() if not set(modalities_of(c)) & set(modalities)}
        return replace(self, tallies=kept)


# By the start of the hour, in seconds of wall time.
Hours = Mapping[int, Hour]


@dataclass(frozen=True, slots=True)
class Counting:
    """``newest_us``: the window counted last of the fusion's life ``boot``."""

    hours: Hours = field(default_factory=dict)
    boot: str = ""
    newest_us: int = -1


def step(state: Counting, estimate: Estimate, boot: str, origin_us: int, offset_us: int, hop_ms: int) -> Counting:
    """Count one window for the time of a hop. ``offset_us``: of topic clock, from ``origin_us`` to wall time."""
    if estimate.revision or (boot == state.boot and origin_us <= state.newest_us):
        return state
    start_s = (origin_us + offset_us) // SECOND // HOUR_S * HOUR_S
    if estimate.label is not None:
        tally = Tally(labels={estimate.label: hop_ms})
    else:
        tally = Tally(reasons={estimate.abstain or NO_REASON: hop_ms})
    masked = {m: hop_ms for m, presence in estimate.presence.items() if presence.state in MASKED}
    hours = added(state.hours, {start_s: Hour({estimate.combination: tally}, masked, hop_ms)})
    return Counting(hours, boot, origin_us)


def added(hours: Hours, more: Hours) -> Hours:
    return {**hours, **{start: hours.get(start, Hour()).plus(hour) for start, hour in more.items()}}


def summed(some: Mapping[K, int], more: Mapping[K, int]) -> dict[K, int]:
    return dict(Counter(some) + Counter(more))
