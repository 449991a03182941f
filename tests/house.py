"""A house on a fake clock and an in-memory bus: the switch, and what tests plug into it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_mer.bus import Client, MemoryBroker, MemoryBus
from edge_mer.capture.device import Captured, Fault
from edge_mer.clock import FakeClock
from edge_mer.config import Config
from edge_mer.control import Answer, AnyControl, Command
from edge_mer.domain import Modality
from edge_mer.messages import RawVideo
from edge_mer.privacy.host_stub import HostStub

BOOT_ID = "00000000-test-boot"


class House:
    """``switch`` may be replaced, or set to None: then nobody answers."""

    def __init__(self, directory: Path, **sections: Any) -> None:
        directory.chmod(0o700)
        self.directory = directory
        self.config = Config.model_validate({"privacy": {"state": str(directory)}, **sections})
        self.clock, self.broker = FakeClock(), MemoryBroker()
        self.switch: HostStub | None = None
        self._switch_bus: MemoryBus | None = None
        self._ids = itertools.count()
        self.start_switch()
        self.person = self.bus("person").client("switch")

    def bus(self, boot: str = "") -> MemoryBus:
        return MemoryBus(self.broker, self.clock, boot)

    def start_switch(self) -> None:
        self._switch_bus = self.bus()
        self.switch = HostStub(self.config, self._switch_bus, BOOT_ID)

    def kill_switch(self) -> None:
        assert self.switch is not None
        assert self._switch_bus is not None
        self.switch.close()
        self._switch_bus.close()
        self.switch = None

    def ask(self, action: str, *modalities: Modality, hard: bool = False, id_: str = "") -> None:
        self.person.send(Command(id=id_ or f"c{next(self._ids)}", action=action, modalities=modalities, hard=hard))

    def answers(self) -> list[Answer]:
        """Those that came since the last call, in the order of the questions."""
        return sorted((m for m in received(self.person) if isinstance(m, Answer)), key=lambda a: a.id)

    def turn(self, *workers: Any) -> None:
        """Everybody speaks and listens until all is said, without time passing."""
        for _ in range(4):
            if self.switch is not None:
                self.switch.turn()
            for worker in workers:
                worker.turn()

    def run(self, us: int, *workers: Any, step_us: int = 20_000, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass in steps; ``each`` is done at every step."""
        self.turn(*workers)
        for _ in range(us // step_us):
            self.clock.advance(step_us)
            each()
            self.turn(*workers)


def received(client: Client) -> list[AnyControl]:
    found: list[AnyControl] = []
    while (message := client.receive()) is not None:
        assert not isinstance(message, list)
        found.append(message)
    return found


def kinds(messages: Iterable[object]) -> list[str]:
    return [type(m).__name__ for m in messages]


class FakeDevice:
    """A camera that gives a block when told, and releases at once unless it is ``stuck``."""

    name = "fake camera"
    interval_us: int | None = 66_667
    wake: tuple[int, ...] = ()

    def __init__(self, clock: FakeClock) -> None:
        self.fault: Fault | None = None
        self.counters: Counter[str] = Counter()
        self.is_open = self.stuck = False
        self.error: Exception | None = None
        self.opened = 0
        self.payload = np.frombuffer(b"jpeg", np.uint8)
        self._clock, self._held, self._frame = clock, list[Captured](), 0

    @property
    def closed(self) -> bool:
        return not self.is_open

    def open(self) -> None:
        assert not self.is_open, "opened twice"
        self.is_open = True
        self.opened += 1

    def give(self, count: int = 1, repeats: int = 0) -> None:
        for _ in range(count if self.is_open else 0):
            self._frame += 1
            body = RawVideo(frame=self._frame, width=2, height=1, mask_epoch=0)
            now = self._clock.now_us()
            self._held.append(Captured(now, now, body, (self.payload,), repeats))

    def read(self) -> list[Captured]:
        if self.error is not None:
            raise self.error
        blocks, self._held = self._held, []
        return blocks

    def abort(self) -> None:
        self._held = []
        self.is_open = self.stuck

    def join(self, timeout_s: float) -> bool:
        return self.closed
