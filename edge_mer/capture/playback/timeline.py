"""The common t0 of a file's audio, its video and its recorded words."""

from __future__ import annotations

from edge_mer.contract.clock import SECOND, Clock

# Readers' sockets connect within a fifth of a second; the first blocks come after that.
LEAD_US = SECOND // 4


class Playback:
    """Begins when the first gate opens, and does not pause: while a track is masked, its part of the file is skipped.

    ``period_us``: length of one lap of a loop (None: the file plays once).
    """

    def __init__(self, clock: Clock, period_us: int | None = None) -> None:
        self.clock, self.period_us = clock, period_us
        self.t0_us: int | None = None

    def begin(self) -> int:
        """Set t0 unless it is set; returns it."""
        if self.t0_us is None:
            self.t0_us = self.clock.now_us() + LEAD_US
        return self.t0_us

    def position_us(self) -> int:
        """Time since t0; negative before it, 0 before ``begin``."""
        return 0 if self.t0_us is None else self.clock.now_us() - self.t0_us

    def lap_of(self, position_us: int) -> tuple[int, int]:
        """The lap and its start (us)."""
        if self.period_us is None:
            return 0, 0
        lap = max(0, position_us) // self.period_us
        return lap, lap * self.period_us
