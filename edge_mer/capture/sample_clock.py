"""Time of audio blocks: from the sample index, anchored to the ADC times."""

from __future__ import annotations

from edge_mer.contract.clock import SECOND

# A larger step means lost samples or a suspended host; a smaller one is jitter or drift of the device's clock.
JUMP_US = SECOND // 5
GAIN, SLEW = 64, 200
# A sound server's first latency estimate is wrong by up to half a second, and settles within one second.
SETTLE_US, SETTLE_GAIN = 2 * SECOND, 4


class SampleClock:
    """Time stamps are monotonic, follow the device's drift slowly, and jump when samples were lost."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._anchor: int | None = None
        self._index = 0
        self._last = -1
        self.jumps = 0

    def stamp(self, index: int, adc_us: int) -> int:
        """Time (us) of sample ``index``, whose block has the ADC time ``adc_us``."""
        elapsed = index * SECOND // self._rate
        if self._anchor is None:
            self._anchor = adc_us - elapsed
        error = adc_us - (self._anchor + elapsed)
        if abs(error) > JUMP_US:
            self.jumps += 1
            self._anchor += error
        elif elapsed < SETTLE_US:
            self._anchor += error // SETTLE_GAIN
        else:
            limit = (index - self._index) * SECOND // self._rate // SLEW
            self._anchor += max(-limit, min(limit, error // GAIN))
        self._index = index
        self._last = max(self._anchor + elapsed, self._last + 1)
        return self._last
