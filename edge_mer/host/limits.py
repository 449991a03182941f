"""Rate limit: a token bucket on the caller's clock."""

from __future__ import annotations

from edge_mer.contract.clock import SECOND


class Budget:
    """At most ``rate_hz`` in the long run, ``burst`` at once."""

    def __init__(self, rate_hz: float, burst: float) -> None:
        self._rate, self._burst = rate_hz, burst
        self._left = burst
        self._at_us: int | None = None

    def take(self, wanted: int, now_us: int) -> int:
        """How many of ``wanted`` are allowed now."""
        earned = 0.0 if self._at_us is None else (now_us - self._at_us) * self._rate / SECOND
        self._at_us = now_us
        self._left = min(self._burst, self._left + earned)
        granted = min(wanted, int(self._left))
        self._left -= granted
        return granted
