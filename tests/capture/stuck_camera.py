"""A camera whose driver hangs: worker module for tests."""

from __future__ import annotations

import threading

import numpy as np

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config
from edge_mer.contract.clock import Clock
from edge_mer.contract.messages import RawVideo


class StuckCamera(ThreadedDevice):
    """Gives frames until the abort; then its call never returns."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("stuck camera", 66_667, 4)
        self._clock = clock

    def _handles(self) -> list[str]:
        return []

    def _run(self, opening: DeviceThread) -> None:
        body, payload = RawVideo(frame=1, width=1, height=1, mask_epoch=0), (np.zeros(1, np.uint8),)
        while not opening.aborted.wait(1 / 15):
            now = self._clock.now_us()
            opening.put(Captured(now, now, body, payload))
        threading.Event().wait()


def build(config: Config, bus: Bus) -> CaptureWorker:
    return CaptureWorker(GatedSource(config, bus, "camera", "video", StuckCamera(bus.clock)))
