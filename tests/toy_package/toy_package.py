"""What an installed package of somebody else may hold: an encoder, two outlets, a recogniser, two sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edge_mer.capture.device import Captured, Release
from edge_mer.contract.messages import RawAudio, WordTime
from edge_mer.gateway.outlet import Outlet
from edge_mer.perception.load import load_encoder

BLOCK = 512


def open_encoder(modality: Any, backend: Any, models_dir: Path) -> Any:
    return load_encoder(modality, backend, models_dir)


class DoorDisplay(Outlet):
    name, topics = "door_display", ("emotion", "privacy")

    def __init__(self, config: Any, bus: Any) -> None:
        self._path = Path(os.environ["TOY_DISPLAY"])

    def publish(self, message: Any) -> None:
        with self._path.open("ab") as file:
            file.write(bytes(message.json) + b"\n")

    def forget(self, modalities: Any, mask_epoch: int) -> None:
        self._path.write_bytes(b"")


class Thief(Outlet):
    name, topics = "thief", ("raw/audio",)

    def publish(self, message: Any) -> None:
        return

    def forget(self, modalities: Any, mask_epoch: int) -> None:
        return


class Tone:
    """A device that gives silence at 16 kHz while it is open."""

    name, interval_us, fault, counters = "tone", 32_000, None, {"dropped": 0}
    wake = ()

    def __init__(self, clock: Any) -> None:
        self._clock, self._opened_us = clock, None
        self._given = 0

    @property
    def closed(self) -> bool:
        return self._opened_us is None

    def open(self) -> None:
        self._opened_us, self._given = self._clock.now_us(), 0

    def read(self) -> list[Captured]:
        if self._opened_us is None:
            return []
        now, blocks = self._clock.now_us(), []
        while (at := self._opened_us + self._given * self.interval_us) + self.interval_us <= now:
            body = RawAudio(rate=16_000, sample_index=self._given * BLOCK, overflows=0, mask_epoch=0)
            blocks.append(Captured(at, now, body, (np.zeros(BLOCK, np.int16),)))
            self._given += 1
        return blocks

    def abort(self) -> None:
        self._opened_us = None

    def release(self) -> Release:
        return Release((), True, "tone")

    def join(self, timeout_s: float) -> bool:
        return self.closed


class Eager(Tone):
    """Opens a device file before anybody gave it leave."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self._file = os.open("/dev/full", os.O_WRONLY)


def open_tone(config: Any, modality: Any, clock: Any) -> Tone:
    return Tone(clock)


def open_eagerly(config: Any, modality: Any, clock: Any) -> Tone:
    return Eager(clock)


class Parrot:
    def begin(self) -> None:
        return

    def feed(self, pcm: bytes) -> None:
        return

    def partial(self) -> None:
        return None

    def end(self) -> tuple[WordTime, ...]:
        return (WordTime("hello", 0, 1),)


def load(argument: str | None) -> Parrot:
    return Parrot()
