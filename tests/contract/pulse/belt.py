"""The process ``belt``: a number every second while its gate is open."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, Clock
from tests.contract.pulse.rows import RawPulse


class Belt:
    name = "toy belt"
    interval_us: int | None = SECOND
    fault: Fault | None = None
    wake: tuple[int, ...] = ()

    def __init__(self, clock: Clock) -> None:
        self.counters: Counter[str] = Counter()
        self._clock, self._due_us, self._sample = clock, None, 0  # type: Clock, int | None, int

    @property
    def closed(self) -> bool:
        return self._due_us is None

    def open(self) -> None:
        self._due_us = self._clock.now_us()

    def read(self) -> list[Captured]:
        now, found = self._clock.now_us(), list[Captured]()
        while self._due_us is not None and self._due_us <= now:
            self._sample += 1
            beats = np.array([60 + 20 * np.sin(self._sample)], np.float32)
            found.append(Captured(self._due_us, now, RawPulse(sample=self._sample, mask_epoch=0), (beats,)))
            self._due_us += SECOND
        return found

    def abort(self) -> None:
        self._due_us = None

    def release(self) -> Release:
        return Release((), not self.read(), "belt")

    def join(self, timeout_s: float) -> bool:
        return self.closed


def build(config: Config, bus: Bus) -> CaptureWorker:
    return CaptureWorker(GatedSource(config, bus, "belt", "pulse", Belt(bus.clock)))  # type: ignore[arg-type]
