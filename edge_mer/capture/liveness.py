"""Measured health of a device: a fold over the arrival times of its blocks."""

from __future__ import annotations

from collections import deque

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Health

MISSED_BLOCKS = 3
# The measured p99.9 of lateness is the largest of the last thousand; the initial value is one tenth of a second.
LATENESS_KEPT, FIRST_LATENESS_US = 1000, SECOND // 10
# A longer gap is an outage and does not count as jitter.
OUTAGE_US = SECOND
WARMING_US = 5 * SECOND
FROZEN_AFTER = 10
RATE_WINDOW_US = 2 * SECOND


class Liveness:
    """``interval_us`` is the nominal time between blocks, None for a source where silence is normal."""

    def __init__(self, interval_us: int | None) -> None:
        self._interval = interval_us
        self._lateness = deque([FIRST_LATENESS_US], LATENESS_KEPT)
        self._margin = FIRST_LATENESS_US
        self._recent: deque[int] = deque(maxlen=512)
        self._opened_us = 0
        self._last_us: int | None = None
        self._frozen = False

    def open(self, now_us: int) -> None:
        self._opened_us, self._last_us, self._frozen = now_us, None, False
        self._recent.clear()

    def arrived(self, at_us: int, repeats: int) -> None:
        if self._last_us is not None and self._interval is not None:
            gap = at_us - self._last_us
            if gap < OUTAGE_US:
                self._lateness.append(max(0, gap - self._interval))
                self._margin = max(self._lateness)
        self._last_us = at_us
        self._frozen = self.is_frozen(repeats)
        self._recent.append(at_us)

    @staticmethod
    def is_frozen(repeats: int) -> bool:
        """Whether a block that repeats the ``repeats`` before it proves a frozen device (ten in all)."""
        return repeats + 1 >= FROZEN_AFTER

    def health(self, now_us: int) -> tuple[Health, str]:
        if self._interval is None:
            return "ok", ""
        if self._last_us is None:
            if now_us - self._opened_us < WARMING_US:
                return "warming", "opened, no data yet"
            return "absent", "opened, but no data came"
        if now_us >= self._last_us + self.limit_us:
            return "absent", "data stopped coming"
        if self._frozen:
            return "frozen", f"the same frame {FROZEN_AFTER} times or more"
        return "ok", ""

    @property
    def limit_us(self) -> int:
        """Gap after which the device counts as lost: three block intervals and the jitter measured on this device."""
        return MISSED_BLOCKS * (self._interval or 0) + self._margin

    def due(self, now_us: int) -> list[int]:
        """Times at which the health changes if nothing arrives."""
        if self._interval is None:
            return []
        due = self._opened_us + WARMING_US if self._last_us is None else self._last_us + self.limit_us
        return [due] if due > now_us else []

    def rate_hz(self, now_us: int) -> float:
        """Blocks per second over the last two seconds (or since the first)."""
        while self._recent and self._recent[0] < now_us - RATE_WINDOW_US:
            self._recent.popleft()
        if len(self._recent) < 2:
            return 0.0
        return round((len(self._recent) - 1) * SECOND / max(1, self._recent[-1] - self._recent[0]), 2)
