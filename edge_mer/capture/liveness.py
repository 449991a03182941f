"""Measured health of a device: a fold over the arrival times of its blocks."""

from __future__ import annotations

from collections import deque

from edge_mer.capture.own_rate import OwnRate
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Health

FIRST_LATENESS_US = SECOND // 10
WARMING_US = 5 * SECOND
# Until the rate is known: a camera may give one picture every few seconds.
FIRST_LIMIT_US = 10 * SECOND
FROZEN_AFTER = 10
RATE_WINDOW_US = 2 * SECOND


class Liveness:
    """``interval_us`` is the nominal time between blocks, None for a source where silence is normal."""

    def __init__(self, interval_us: int | None) -> None:
        self._interval = interval_us
        self._rate = OwnRate(interval_us or 0, FIRST_LIMIT_US, FIRST_LATENESS_US)
        self._recent: deque[int] = deque(maxlen=512)
        self._opened_us = 0
        self._frozen = False

    def open(self, now_us: int) -> None:
        self._opened_us, self._frozen = now_us, False
        self._rate.restart()
        self._recent.clear()

    def arrived(self, at_us: int, frozen: bool) -> None:
        self._rate.arrived(at_us)
        self._frozen = frozen
        self._recent.append(at_us)

    def health(self, now_us: int) -> tuple[Health, str]:
        if self._interval is None:
            return "ok", ""
        if self._rate.last_us is None:
            if now_us - self._opened_us < WARMING_US:
                return "warming", "opened, no data yet"
            return "absent", "opened, but no data came"
        if now_us >= self._rate.last_us + self._rate.limit_us:
            return "absent", "data stopped coming"
        if self._frozen:
            return "frozen", "the camera repeats the same picture"
        return "ok", ""

    def due(self, now_us: int) -> list[int]:
        """Times at which the health changes if nothing arrives."""
        if self._interval is None:
            return []
        last = self._rate.last_us
        due = self._opened_us + WARMING_US if last is None else last + self._rate.limit_us
        return [due] if due > now_us else []

    def rate_hz(self, now_us: int) -> float:
        """Blocks per second over the last two seconds (or since the first)."""
        while self._recent and self._recent[0] < now_us - RATE_WINDOW_US:
            self._recent.popleft()
        if len(self._recent) < 2:
            return 0.0
        return round((len(self._recent) - 1) * SECOND / max(1, self._recent[-1] - self._recent[0]), 2)


def is_frozen(frozen: bool, repeats: int) -> bool:
    """Whether a block is of a frozen device: the device proved it, or the block repeats the nine before it."""
    return frozen or repeats + 1 >= FROZEN_AFTER
