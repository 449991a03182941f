"""Times of sound that a network stream delivers, and what to do with each frame. No clock of its own, no stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_mer.contract.clock import SECOND

# A larger step of timestamps is a gap or another timeline; a smaller one is their rounding.
STEP_US: Final = SECOND // 20
# Sound that comes later than this after its turn was held up: time moves forward with it.
LATE_US: Final = SECOND // 5
# A live stream that is so far ahead of real time delivers what it had buffered.
AHEAD_US: Final = SECOND // 10
# Timestamps that jump forward by more than this are another timeline, not lost sound.
GAP_US: Final = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Placed:
    """``origin_us``: time of the first sample. ``wait_us``: until the last sample would have been recorded.

    ``follows``: the frame follows the one before without a gap. ``skip``: leave it out, so that delay never grows.
    """

    origin_us: int
    wait_us: int
    follows: bool
    skip: bool = False


class StreamClock:
    """``live``: the stream runs in real time and its past is skipped; others (HLS, a file) are played in real time."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self._offset_us: int | None = None  # from timestamps to times
        self._next_us = 0  # timestamp that follows the newest frame
        self.jumps = 0

    def at(self, pts_us: int) -> int | None:
        """The time of this timestamp, as of another track of the stream; None before the first frame."""
        return None if self._offset_us is None else pts_us + self._offset_us

    def place(self, pts_us: int | None, length_us: int, now_us: int) -> Placed:
        """The frame with this timestamp (None: it follows) arrives now."""
        pts = self._next_us if pts_us is None else pts_us
        step = pts - self._next_us
        self._next_us, follows = pts + length_us, abs(step) <= STEP_US
        if self._offset_us is None:
            self._offset_us, follows = now_us - length_us - pts, False
        elif step < -STEP_US or step > GAP_US:
            # Another timeline: it goes on where the old one ended, or now if that was long ago.
            self._offset_us = max(self._offset_us - step, now_us - length_us - pts)
            self.jumps += 1
        early = pts + length_us + self._offset_us - now_us
        if early < -LATE_US:
            self._offset_us -= early
            self.jumps += 1
            early, follows = 0, False
        elif self._live and early > AHEAD_US:
            self._offset_us -= length_us
            return Placed(pts + self._offset_us, 0, follows=False, skip=True)
        return Placed(pts + self._offset_us, max(0, early), follows)
