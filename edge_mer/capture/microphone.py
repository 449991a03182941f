"""The process ``microphone``: PortAudio through sounddevice, 16 kHz mono, blocks of 32 ms."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured, Fault
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.open_handles import local_connections, open_files
from edge_mer.capture.sample_clock import SampleClock
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.errors import DeviceError, MissingExtra
from edge_mer.contract.messages import RawAudio
from edge_mer.contract.raw import SAMPLE_RATE

BLOCK = 512
BLOCK_US = BLOCK * SECOND // SAMPLE_RATE
QUEUE = 32
CHECK_S = 0.1
# A stream that delivered data and then none for this long is lost; one that never delivered any is reopened.
LOST_US, NEVER_RAN_US = 2 * SECOND, 5 * SECOND
REOPEN_S = 1.0
# Requested from PortAudio; every block reports its own latency, which is used if it is below the limit.
LATENCY_S, LATENCY_LIMIT_S = 0.05, 1.0


def load_portaudio() -> ModuleType:
    """Raises MissingExtra with the command that installs the missing package."""
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtra("sounddevice is not installed; run: pip install sounddevice") from error
    except OSError as error:
        raise MissingExtra(f"{error}; run: sudo apt install libportaudio2") from error
    found: ModuleType = sounddevice
    return found


class Microphone(ThreadedDevice):
    """One PortAudio input. ``device``: index or part of a name, None for the system's default."""

    def __init__(self, device: int | str | None, clock: Clock) -> None:
        super().__init__("microphone" if device is None else str(device), BLOCK_US, QUEUE)
        self._device, self._clock = device, clock
        self._listed = False

    handles = "sound device or connection to a sound server"

    def _handles(self) -> list[str]:
        return [*open_files("/dev/snd/"), *local_connections()]

    def _run(self, opening: DeviceThread) -> None:
        try:
            portaudio = load_portaudio()
        except MissingExtra as error:
            opening.set_fault(Fault("failed", str(error)))
            opening.aborted.wait()
            return
        while not opening.aborted.is_set():
            self._refresh(portaudio)
            try:
                _Recording(self, portaudio, opening).run()
            except portaudio.PortAudioError as error:
                reason = f"cannot open {self.name}: {_first_line(error)}; see: edge-mer devices"
                opening.set_fault(Fault("absent", reason))
                opening.aborted.wait(REOPEN_S)

    def _refresh(self, portaudio: ModuleType) -> None:
        """PortAudio lists devices once, when it starts; without an open stream it can start again."""
        if self._listed:
            portaudio._terminate()
            portaudio._initialize()
        self._listed = True

    def open_stream(self, portaudio: ModuleType, callback: Any, finished: Any) -> Any:
        self._name = str(portaudio.query_devices(self._device, "input")["name"])
        return portaudio.RawInputStream(
            samplerate=SAMPLE_RATE,
            blocksize=BLOCK,
            device=self._device,
            channels=1,
            dtype="int16",
            latency=LATENCY_S,
            callback=callback,
            finished_callback=finished,
        )

    @property
    def clock(self) -> Clock:
        return self._clock


class _Recording:
    """One PortAudio stream, from opening to release."""

    def __init__(self, microphone: Microphone, portaudio: ModuleType, opening: DeviceThread) -> None:
        self._opening, self._clock = opening, microphone.clock
        self._time = SampleClock(SAMPLE_RATE)
        self._index = self._overflows = 0
        self._last_us: int | None = None
        self._ended = threading.Event()
        self._error = portaudio.PortAudioError
        self._stream = microphone.open_stream(portaudio, self._callback, self._ended.set)

    def run(self) -> None:
        """Record until the abort. Returns with a fault set when no data came; raises DeviceError when it was lost."""
        started = self._clock.now_us()
        try:
            self._stream.start()
            while not self._opening.aborted.wait(CHECK_S):
                now = self._clock.now_us()
                if self._ended.is_set() or (self._last_us is not None and now - self._last_us > LOST_US):
                    raise DeviceError("the microphone stopped: it was unplugged, or its sound server ended")
                if self._last_us is None and now - started > NEVER_RAN_US:
                    self._opening.set_fault(Fault("absent", "the microphone opened but delivers no data"))
                    return
        finally:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)
            self._opening.read_fails = self._read_fails()

    def _read_fails(self) -> bool:
        try:
            self._stream.read(1)
        except self._error:
            return True
        return False

    def _callback(self, data: Any, frames: int, time: Any, status: Any) -> None:
        now = self._last_us = self._clock.now_us()
        if status.input_overflow:
            self._overflows += 1
            self._opening.counters["overflow"] += 1
        latency = time.currentTime - time.inputBufferAdcTime
        sensible = time.inputBufferAdcTime > 0 and 0 <= latency < LATENCY_LIMIT_S
        adc_us = now - (round(latency * SECOND) if sensible else frames * SECOND // SAMPLE_RATE)
        body = RawAudio(rate=SAMPLE_RATE, sample_index=self._index, overflows=self._overflows, mask_epoch=0)
        origin = self._time.stamp(self._index, adc_us)
        self._index += frames
        self._opening.set_fault(None)
        self._opening.put(Captured(origin, now, body, (np.frombuffer(bytearray(data), np.int16),)))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def build(config: Config, bus: Bus) -> CaptureWorker:
    return CaptureWorker(GatedSource(config, bus, "microphone", "audio", Microphone(config.audio.device, bus.clock)))
