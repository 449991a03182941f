"""A PortAudio whose one card takes a single rate, number of channels and format, as a raw ALSA device does."""

from __future__ import annotations

import select
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.capture import microphone
from edge_mer.capture.device import Captured, Fault
from edge_mer.capture.microphone import Microphone
from edge_mer.contract.clock import SECOND

LATENCY_US = 40_000
PATIENCE_S = 30


class Refusal(Exception):
    """Stands for sounddevice.PortAudioError."""


class Stream:
    """The stream plays its whole sound into the callback when it starts; ``played`` is set after that."""

    def __init__(self, card: FakePortAudio, options: dict[str, Any]) -> None:
        self.rate, self.channels = int(options["samplerate"]), int(options["channels"])
        self._card, self._callback, self._frames = card, options["callback"], int(options["blocksize"])

    def start(self) -> None:
        sound = self._card.sound()
        for first in range(0, len(sound) - self._frames + 1, self._frames):
            adc = self._card.began_us + first * SECOND // self.rate
            self._card.at_us = adc + LATENCY_US
            times = SimpleNamespace(currentTime=1 + LATENCY_US / SECOND, inputBufferAdcTime=1.0)
            data = sound[first : first + self._frames].tobytes()
            self._callback(data, self._frames, times, SimpleNamespace(input_overflow=False))
        self._card.played.set()

    def abort(self, ignore_errors: bool) -> None:
        pass

    close = abort

    def read(self, frames: int) -> None:
        raise Refusal("closed")


class FakePortAudio:
    PortAudioError = Refusal

    def __init__(self, rate: int, channels: int, dtype: str) -> None:
        self.rate, self.channels, self.dtype = rate, channels, dtype
        self.began_us = self.at_us = 5 * SECOND
        self.seconds = 0.0
        self.played = threading.Event()
        self.stream: Stream

    def record(self, seconds: float) -> tuple[list[Captured], Fault | None]:
        """The blocks that a microphone on this card captures, and its fault."""
        self.seconds = seconds
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(microphone, "load_portaudio", lambda: self)
            patch.setattr(microphone, "QUEUE", 10_000)
            device = Microphone("USB", self)
            device.open()
            assert select.select(device.wake, [], [], PATIENCE_S)[0]
            fault = device.fault
            assert fault or self.played.wait(PATIENCE_S)
            blocks = device.read()
            device.abort()
            assert device.join(PATIENCE_S)
        return blocks, fault

    def voice(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(0.3 * np.sin(2 * np.pi * 300 * time))

    def sound(self) -> NDArray[np.int16]:
        mono = self.voice(np.arange(round(self.seconds * self.rate)) / self.rate)
        signs = np.where(np.arange(self.channels) % 2, -1, 1)
        return (32_768 * mono[:, None] * signs).astype(np.int16)

    # -- what Microphone uses of sounddevice and of the clock ---------------------------------------------------

    def now_us(self) -> int:
        return self.at_us

    def query_devices(self, device: object, kind: str) -> dict[str, Any]:
        return {"name": "USB card", "default_samplerate": float(self.rate), "max_input_channels": self.channels}

    def RawInputStream(self, **options: Any) -> Stream:
        for key, own, code in (
            ("samplerate", self.rate if self.rate > 12_000 else 0, -9997),
            ("channels", self.channels, -9998),
            ("dtype", self.dtype, -9994),
        ):
            if options[key] != own:
                raise Refusal(f"Error opening RawInputStream: Invalid {key} [PaErrorCode {code}]")
        self.stream = Stream(self, options)
        return self.stream

    def _terminate(self) -> None: ...

    def _initialize(self) -> None: ...
