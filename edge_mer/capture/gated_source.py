"""What every capture worker is: a gate, a device that opens only while the gate does, and a publisher.

A worker with two tracks (a file plays as microphone and camera) holds two ``GatedSource`` of the same process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

import msgspec

from edge_mer.bus import Bus
from edge_mer.capture.device import Captured, Device, Fault, Release
from edge_mer.capture.gate import DeviceGate
from edge_mer.capture.indicator import IndicatorLight, choose_indicator
from edge_mer.capture.liveness import Liveness
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import BadMessage, DeviceError
from edge_mer.contract.messages import SensorState
from edge_mer.contract.plain_text import visible
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget

RELEASE_US = 60_000
STATE_US = SECOND
FLOOD = 1.5
LOOK_US = SECOND // 100
# Exit code of a process that could not release its device in time: only its end closes the handle for certain.
EXIT_HELD = 70

__all__ = ["CaptureWorker", "Captured", "Device", "Fault", "GatedSource"]


class GatedSource:
    """One modality: keeps its device open exactly while its gate is, publishes ``raw/<m>`` and ``state/<m>``."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        name: str,
        modality: Modality,
        device: Device,
        leave: Callable[[int], object] = os._exit,
        boot_id: str | None = None,
        indicator: IndicatorLight | None = None,
    ) -> None:
        self.modality, self.device = modality, device
        self._indicator = indicator or choose_indicator(config, modality, bus.clock)
        self._indicator.dark()  # a life that was killed may have left it on
        self._is_lit = False
        self.gate = DeviceGate(
            bus, modality, name, state_directory(config.privacy.state), round(config.privacy.lease_s * SECOND), boot_id
        )
        self._clock = bus.clock
        self._raw = bus.publisher(f"raw/{modality}", name)
        self._state = bus.publisher(f"state/{modality}", name)
        self._leave = leave
        self._liveness = Liveness(device.interval_us)
        # A device that floods cannot flood the bus.
        self._budget = Budget(FLOOD * self._raw.service.rate_hz, FLOOD * self._raw.service.rate_hz)
        self._open_epoch: int | None = None
        self._aborted_us: int | None = None
        self._release: Release | None = None
        self._said: SensorState | None = None
        self._state_due = 0
        self.flood = self.unfit = 0

    @property
    def last_seq(self) -> int | None:
        return self._raw.seq - 1 if self._raw.seq else None

    @property
    def counters(self) -> dict[str, int]:
        return {
            **self.device.counters,
            "flood": self.flood,
            "unfit": self.unfit,
            "refused_lease": self.gate.refused_leases,
        }

    def turn(self) -> int:
        """Obey the gate, move blocks, say the state. Returns the longest wait in us."""
        wait = self.gate.turn(self.last_seq)
        self._obey()
        try:
            self._move()
        except DeviceError as error:
            self._say(Fault("absent", str(error)))
            raise
        self._say(self._measured())
        return min(wait, self._due_us())

    def _obey(self) -> None:
        wanted = self.gate.is_open and self._open_epoch in (None, self.gate.mask_epoch)
        if self._open_epoch is not None and not wanted:
            self.device.abort()
            self._open_epoch, self._aborted_us = None, self._clock.now_us()
        if self._open_epoch is not None:
            return
        if not self._is_released():
            self._check_release()
        elif self.gate.is_open:
            self._open()
        elif self._release is not None:
            self._darken()  # it may be on its way to light although the device never opened
            self.gate.confirm_closed(self.last_seq, str(self._release))

    def _open(self) -> None:
        self._is_lit = True
        if not self._indicator.light() or not self.gate.is_open:
            return
        self._open_epoch, self._release = self.gate.mask_epoch, None
        self._liveness.open(self._clock.now_us())
        self.device.open()

    def _is_released(self) -> bool:
        """Measured once for each closing: the device says so, /proc shows no handle of it, and a read fails."""
        if self._release is None and self.device.closed:
            release = self.device.release()
            if release.complete:
                self._release, self._aborted_us = release, None
                self._darken()
        return self._release is not None

    def _darken(self) -> None:
        if self._is_lit:
            self._indicator.dark()
            self._is_lit = False

    def finish(self) -> None:
        """At the end of the process: the light goes out if the device has closed."""
        if self.device.join(RELEASE_US / SECOND):
            self._indicator.dark()

    def _check_release(self) -> None:
        if self._aborted_us is None or self._clock.now_us() - self._aborted_us < RELEASE_US:
            return
        logging.getLogger(self.modality).error(
            "%s did not release within %d ms; this process ends, which closes it",
            self.device.name,
            RELEASE_US // 1000,
        )
        self._leave(EXIT_HELD)

    def _move(self) -> None:
        blocks = self.device.read()  # also while closed: it takes back what woke the loop
        if self._open_epoch is None:
            return
        for block in blocks:
            self._liveness.arrived(block.arrived_us, block.repeats)
        allowed = self._budget.take(len(blocks), self._clock.now_us())
        self.flood += len(blocks) - allowed
        for block in blocks[len(blocks) - allowed :]:
            if self.gate.is_open and not self._liveness.is_frozen(block.repeats):
                self._publish(block)

    def _publish(self, block: Captured) -> None:
        body = msgspec.structs.replace(block.body, mask_epoch=self.gate.mask_epoch)
        try:
            self._raw.send(body, block.payload, origin_us=block.origin_us)
        except BadMessage as error:
            self.unfit += 1
            logging.getLogger(self.modality).warning("%s: a block was not published: %s", self.device.name, error)

    def _measured(self) -> Fault:
        if self._open_epoch is None:
            return Fault("absent", self.gate.reason or self._indicator.fault or "the device is being released")
        return self.device.fault or Fault(*self._liveness.health(self._clock.now_us()))

    def _say(self, measured: Fault) -> None:
        now = self._clock.now_us()
        reason = (None if measured.health == "ok" else measured.reason) if self.gate.is_open else self.gate.reason
        held = not self.gate.is_open and not self._is_released()  # masked means closed, so not yet
        state = SensorState(
            modality=self.modality,
            gate="live" if held else self.gate.state,
            health=measured.health,
            reason=reason and visible(reason),
            device=visible(self.device.name),
            mask_epoch=self.gate.mask_epoch,
            rate_hz=0.0,
            dropped=0,
        )
        if state == self._said and now < self._state_due:
            return
        self._said, self._state_due = state, now + STATE_US
        counters = self.counters
        rate = 0.0 if self._open_epoch is None else self._liveness.rate_hz(now)
        full = msgspec.structs.replace(state, rate_hz=rate, dropped=counters.get("dropped", 0) + counters["flood"])
        self._state.send(full, origin_us=now)

    def _due_us(self) -> int:
        now = self._clock.now_us()
        due = [self._state_due]
        if self.gate.is_open and self._open_epoch is None:
            due.append(now + LOOK_US)  # for the indicator, or the end of a release
        if self._aborted_us is not None:
            due.append(self._aborted_us + RELEASE_US)
        if self._open_epoch is not None:
            due += self._liveness.due(now)
        return max(0, min(due) - now)


class CaptureWorker:
    """The worker of a capture process: turns of its sources, nothing else."""

    def __init__(self, *sources: GatedSource) -> None:
        self.sources = sources

    def turn(self) -> int:
        return min(source.turn() for source in self.sources)

    @property
    def wake(self) -> tuple[int, ...]:
        return tuple(fd for source in self.sources for fd in source.device.wake)

    @property
    def counters(self) -> Mapping[str, int]:
        return {f"{s.modality}.{name}": count for s in self.sources for name, count in s.counters.items()}

    def close(self) -> None:
        for source in self.sources:
            source.device.abort()
        for source in self.sources:
            source.finish()
