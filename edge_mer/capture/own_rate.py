"""The rate at which something really comes, measured: a fold over arrival times."""

from __future__ import annotations

from collections import deque
from statistics import median

from edge_mer.contract.clock import SECOND

MISSED = 3
# One gap that is no rule, an outage or a burst, does not move the median of the last five.
GAPS_KEPT, GAPS_NEEDED = 5, 3
# The measured p99.9 of lateness is the largest of the last thousand.
LATENESS_KEPT = 1000
# A gap longer than this, and than four intervals, is an outage and does not count as jitter.
OUTAGE_US, OUTAGE_INTERVALS = SECOND, 4


class OwnRate:
    """``nominal_us``: the shortest interval that counts; ``first_us``: the limit until the rate is known;
    ``lateness_us``: the jitter that is assumed until it is measured."""

    def __init__(self, nominal_us: int, first_us: int, lateness_us: int) -> None:
        self._nominal, self._first = nominal_us, first_us
        self._gaps: deque[int] = deque(maxlen=GAPS_KEPT)
        self._lateness = deque([lateness_us], LATENESS_KEPT)
        self.last_us: int | None = None

    def restart(self) -> None:
        """The source was opened anew: its rate may be another, its jitter is not."""
        self._gaps.clear()
        self.last_us = None

    def arrived(self, at_us: int) -> None:
        if self.last_us is not None:
            gap = at_us - self.last_us
            if gap < max(OUTAGE_US, OUTAGE_INTERVALS * self.interval_us):
                self._lateness.append(max(0, gap - self.interval_us))
            self._gaps.append(gap)
        self.last_us = at_us

    @property
    def known(self) -> bool:
        return len(self._gaps) >= GAPS_NEEDED

    @property
    def interval_us(self) -> int:
        return max(self._nominal, round(median(self._gaps)) if self.known else 0)

    @property
    def limit_us(self) -> int:
        """Gap after which the source counts as lost: three of its own intervals and its own jitter."""
        measured = MISSED * self.interval_us + max(self._lateness)
        return measured if self.known else max(measured, self._first)
