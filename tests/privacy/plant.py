"""A whole home in memory under load: three gates with devices, encoders' and a recorder's lineage, and observers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_mer.bus import MemoryBus
from edge_mer.capture.device import Captured
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.control import AnyControl, encode
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Message, RawAudio, RawText, RawVideo, WordTime
from edge_mer.privacy.purge_client import PurgeClient
from tests.switch_bench import BOOT_ID, FakeDevice, SwitchBench

PAYLOAD: dict[Modality, tuple[np.ndarray[Any, Any], ...]] = {
    "audio": (np.zeros(4, np.int16),),
    "video": (np.zeros(4, np.uint8),),
    "text": (),
}


class Device(FakeDevice):
    """Gives blocks of one modality. ``opened_us`` and ``closed_us`` are when the handle came and went."""

    def __init__(self, clock: FakeClock, modality: Modality) -> None:
        super().__init__(clock)
        self.modality: Modality = modality
        self.name = f"fake {modality}"
        self.clock = clock

    def give(self, count: int = 1, repeats: int = 0) -> None:
        for _ in range(count if self.is_open else 0):
            self._frame += 1
            now = self.clock.now_us()
            body: RawAudio | RawVideo | RawText
            if self.modality == "audio":
                body = RawAudio(rate=16_000, sample_index=self._frame * 4, overflows=0, mask_epoch=0)
            elif self.modality == "video":
                body = RawVideo(frame=self._frame, width=2, height=2, mask_epoch=0)
            else:
                words = (WordTime("word", now, now),)
                body = RawText(segment=self._frame, words=words, final=True, parent=None, engine="fake", mask_epoch=0)
            self._held.append(Captured(now, now, body, PAYLOAD[self.modality]))


class Gatehouse:
    """The capture process of one modality; ``kill`` and ``start`` are what the supervisor sees of it."""

    def __init__(self, bench: SwitchBench, modality: Modality) -> None:
        self.bench, self.modality = bench, modality
        self.lives = 0
        self.alive = False
        self.start()

    def start(self) -> None:
        if self.alive:
            return
        self.lives += 1
        others = set(self.bench.broker.clients)
        self.bus = self.bench.bus(f"{self.modality}-life{self.lives}")
        self.device = Device(self.bench.clock, self.modality)
        self.source = GatedSource(
            self.bench.config,
            self.bus,
            f"gate.{self.modality}",
            self.modality,
            self.device,
            leave=self._leave,
            boot_id=BOOT_ID,
        )
        self.worker = CaptureWorker(self.source)
        self.identities = set(self.bench.broker.clients) - others
        self.alive = True

    def _leave(self, code: int) -> None:
        self.kill()

    def kill(self) -> None:
        """The kernel closes its handles; nobody says a word."""
        self.alive = False
        self.device.is_open = False
        self.bus.close()

    def turn(self) -> None:
        if self.alive:
            self.worker.turn()

    def inject(self, message: AnyControl) -> None:
        """As if the switch had said it."""
        for identity in self.identities & set(self.bench.broker.clients):
            self.bench.broker.clients[identity].append([encode(message)])

    @property
    def is_open(self) -> bool:
        return self.device.is_open


class Child:
    """A lineage child that keeps what it reads until it is told to forget."""

    def __init__(self, bench: SwitchBench, name: str) -> None:
        self.bus: MemoryBus = bench.bus(f"{name}-life")
        self.lineage = PurgeClient(self.bus, name, MODALITIES)
        self.reader = self.bus.reader(*(f"raw/{m}" for m in MODALITIES))
        self.held: list[Message[Any]] = []
        self.asleep = False

    def turn(self) -> None:
        if self.asleep:
            return
        for order in self.lineage.orders():
            self.reader.require_epoch(order.modality, order.mask_epoch)
            self.held = [m for m in self.held if m.topic != f"raw/{order.modality}"]
            self.lineage.done(order)
        self.held = (self.held + self.reader.drain())[-50:]


class Plant:
    """``step`` lets time pass under load; everything published is in ``seen``."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.bench = SwitchBench(directory, text={"source": "typed"}, **more)
        self.gates: dict[Modality, Gatehouse] = {m: Gatehouse(self.bench, m) for m in MODALITIES}
        self.children = [Child(self.bench, name) for name in ("perception", "fusion")]
        self.workers: list[Any] = []
        self.observer = self.bench.bus("observer").reader(*(f"raw/{m}" for m in MODALITIES), "privacy")
        self.bench.turn(*self.everybody())

    def everybody(self) -> list[Any]:
        return [*self.gates.values(), *self.children, *self.workers]

    def step(self, us: int = 20_000, load: int = 1, each: Callable[[], object] = lambda: None) -> list[Message[Any]]:
        """Everybody takes turns after ``us``; what the observer saw."""
        self.bench.clock.advance(us)
        for gate in self.gates.values():
            gate.device.give(load)
        each()
        self.bench.turn(*self.everybody())
        return self.observer.drain()

    def open(self) -> set[Modality]:
        return {m for m, gate in self.gates.items() if gate.is_open}
