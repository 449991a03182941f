"""A tiny real worker: publishes its sensor state ten times a second. ``DIRECTORY/NAME.hang`` makes it hang."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path

from edge_mer.bus import Bus, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import SensorState


class Tiny:
    wake: tuple[int, ...] = ()

    def __init__(self, bus: Bus) -> None:
        assert isinstance(bus, ZmqBus)
        self.counters: Counter[str] = Counter()
        self._directory, self._clock = bus.directory, bus.clock
        self._publisher = bus.publisher("state/audio", "tiny")
        # A child of a worker must also end with it.
        self._child = subprocess.Popen(["sleep", "30"])

    def turn(self) -> int:
        if (self._directory / "hang").exists():
            (self._directory / "hang").unlink()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        state = SensorState(
            modality="audio",
            gate="live",
            health="ok",
            reason=None,
            device=str(self._child.pid),
            mask_epoch=1,
            rate_hz=0.0,
            dropped=0,
        )
        self._publisher.send(state, origin_us=self._clock.now_us())
        return SECOND // 10

    def close(self) -> None:
        return None


def build(config: Config, bus: Bus) -> Tiny:
    return Tiny(bus)


def hang(directory: Path) -> None:
    (directory / "hang").touch()
