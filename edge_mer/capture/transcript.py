"""The process ``transcript``: the gate of text, and the source of the words behind it.

Words recognised from the microphone have the parent ``raw/audio`` and share its mask: the process is then a data
holder of audio too. Typed and recorded words have no parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_mer.bus import Bus, ZmqBus, runtime_directory
from edge_mer.capture.asr.process import AsrProcess
from edge_mer.capture.asr.recogniser import choose
from edge_mer.capture.asr.segmenter import Segmenter
from edge_mer.capture.asr.source import AsrTranscript
from edge_mer.capture.gated_source import CaptureWorker, Device, GatedSource
from edge_mer.capture.playback.recorded import RecordedTranscript, read_transcript
from edge_mer.capture.playback.timeline import Playback
from edge_mer.capture.typed import TypedTranscript
from edge_mer.config import Config, plays_with_file
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Purge
from edge_mer.host.worker import Worker
from edge_mer.perception.speech import PackagedVad
from edge_mer.privacy.purge_client import PurgeClient

NAME = "transcript"
# Poll interval until the killed child has ended.
POLL_US = SECOND // 200

Gated = Callable[[Device], GatedSource]


class RecordedWorker(CaptureWorker):
    """Publishes each word when it is due."""

    def __init__(self, device: RecordedTranscript, source: GatedSource) -> None:
        super().__init__(source)
        self._device = device

    def turn(self) -> int:
        return min(super().turn(), self._device.due_us())


class AsrWorker(CaptureWorker):
    """Carries out purges of audio before anything else."""

    def __init__(self, device: AsrTranscript, source: GatedSource, purges: PurgeClient) -> None:
        super().__init__(source)
        self._device, self._purges = device, purges
        self._orders: list[Purge] = []

    def turn(self) -> int:
        for order in self._purges.orders():
            self._device.purge(order.mask_epoch)
            self._orders.append(order)
        if self._orders and self._device.purged:
            for order in self._orders:
                self._purges.done(order)
            self._orders.clear()
        wait = super().turn()
        wait = min(wait, self._device.due_us())
        return min(wait, POLL_US) if self._orders or not self._device.purged else wait


class Idle:
    """No work: the process ``file`` plays the transcript that belongs to its clip."""

    wake: tuple[int, ...] = ()
    counters: Mapping[str, int] = {}

    def turn(self) -> int:
        return SECOND

    def close(self) -> None:
        pass


def build(config: Config, bus: Bus) -> Worker:
    """Raises ConfigError for a source that lacks its file, model, address or consent."""
    directory = bus.directory if isinstance(bus, ZmqBus) else None
    return assemble(config, bus, lambda device: GatedSource(config, bus, NAME, "text", device), directory)


def assemble(config: Config, bus: Bus, gated: Gated, directory: Path | None = None) -> Worker:
    """``gated`` puts a device behind the gate of text; ``directory`` is the runtime directory."""
    if plays_with_file(config, "text"):
        return Idle()
    if config.text.source == "recorded":
        transcript = read_transcript(config.text.path)
        period_us = transcript.duration_us if config.file.loop else None
        recorded = RecordedTranscript(transcript, Playback(bus.clock, period_us))
        return RecordedWorker(recorded, gated(recorded))
    if config.text.source == "typed":
        return CaptureWorker(gated(TypedTranscript(bus.clock, directory or runtime_directory(config.run.directory))))
    choice = choose(config)
    device = AsrTranscript(bus, choice.engine, lambda: AsrProcess(choice), Segmenter(PackagedVad()))
    return AsrWorker(device, gated(device), PurgeClient(bus, NAME, ("audio",)))
