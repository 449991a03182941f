"""Whether a microphone delivers any sound: a fold over the loudness of its blocks.

A room may be quiet for long; a line is dead when nothing on it was ever above the floor, or for a minute.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Health

# dB below full scale (root mean square of a block, without its mean): no voice is fainter on a working microphone.
FLOOR_DB: Final = -60.0
# Exact zeros for so long; nothing above the floor since the start of the sound, or after something was.
ZEROS_US, FIRST_QUIET_US, QUIET_US = 5 * SECOND, SECOND // 2, 60 * SECOND
# A click is shorter than so many blocks above the floor.
LOUD_BLOCKS: Final = 3
DIGITAL_SILENCE: Final = "digital silence: muted?"


def level_db(samples: NDArray[Any]) -> float:
    """int16 [n] in dB below full scale; minus infinity for a constant block."""
    if not len(samples):
        return -math.inf
    deviation = float(np.std(samples.astype(np.float64))) / 32_768
    return 20 * math.log10(deviation) if deviation else -math.inf


class Loudness:
    def __init__(self) -> None:
        self._zeros_since_us: int | None = None
        self._quiet_since_us: int | None = None
        self._loudest_db = -math.inf
        self._was_loud = False
        self._loud_blocks = 0

    def arrived(self, at_us: int, db: float) -> None:
        """One block of this level."""
        if db == -math.inf:
            self._zeros_since_us = at_us if self._zeros_since_us is None else self._zeros_since_us
            return
        self._zeros_since_us = None
        self._loud_blocks = self._loud_blocks + 1 if db >= FLOOR_DB else 0
        if self._loud_blocks >= LOUD_BLOCKS:
            self._quiet_since_us, self._loudest_db, self._was_loud = None, -math.inf, True
        if self._loud_blocks:
            return
        self._quiet_since_us = at_us if self._quiet_since_us is None else self._quiet_since_us
        self._loudest_db = max(self._loudest_db, db)

    def health(self, now_us: int) -> tuple[Health, str]:
        if self._zeros_since_us is not None and now_us - self._zeros_since_us >= ZEROS_US:
            return "silent", DIGITAL_SILENCE
        limit = QUIET_US if self._was_loud else FIRST_QUIET_US
        if self._quiet_since_us is not None and now_us - self._quiet_since_us >= limit:
            return "silent", f"too quiet: {self._loudest_db:.0f} dB"
        return "ok", ""
