"""The common part of capture workers: a gate, a device that is open only while the gate is, and a publisher.

A worker with two tracks (a file plays as microphone and camera) has two ``GatedSource`` in one process.
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
from edge_mer.capture.liveness import Liveness, is_frozen
from edge_mer.capture.loudness import Loudness, level_db
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import BadMessage, DeviceError
from edge_mer.contract.messages import RawAudio, SensorState
from edge_mer.contract.plain_text import visible
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget

RELEASE_US = 60_000
STATE_US = SECOND
FLOOD = 1.5
POLL_US = SECOND // 100
# Exit code of a process that could not release its device in time: the end of the process closes the handle.
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
        self._indicator.turn_off()  # an earlier process that was killed may have left it on
        self._is_on = False
        self.gate = DeviceGate(
            bus, modality, name, state_directory(config.privacy.state), round(config.privacy.lease_s * SECOND), boot_id
        )
        self._clock = bus.clock
        self._raw = bus.publisher(f"raw/{modality}", name)
        self._state = bus.publisher(f"state/{modality}", name)
        self._leave = leave
        self._liveness, self._loudness = Liveness(device.interval_us), Loudness()
        # Limits the message rate of a device that delivers too fast.
        self._budget = Budget(FLOOD * self._raw.service.rate_hz, FLOOD * self._raw.service.rate_hz)
        self._open_epoch: int | None = None
        self._aborted_us: int | None = None
        self._release: Release | None = None
        self._published: SensorState | None = None
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
        """Follow the gate, publish blocks and state. Returns the longest wait in us."""
        wait = self.gate.turn(self.last_seq)
        self._follow_gate()
        try:
            self._publish_blocks()
        except DeviceError as error:
            self._publish_state(Fault("absent", str(error)))
            raise
        self._publish_state(self._measured())
        return min(wait, self._due_us())

    def _follow_gate(self) -> None:
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
            self._turn_off()  # it may be turning on although the device never opened
            self.gate.confirm_closed(self.last_seq, str(self._release))

    def _open(self) -> None:
        self._is_on = True
        if not self._indicator.turn_on() or not self.gate.is_open:
            return
        self._open_epoch, self._release = self.gate.mask_epoch, None
        self._liveness.open(self._clock.now_us())
        self._loudness = Loudness()
        self.device.open()

    def _is_released(self) -> bool:
        """Measured once for each closing: the device reports it, /proc shows no handle of it, and a read fails."""
        if self._release is None and self.device.closed:
            release = self.device.release()
            if release.complete:
                self._release, self._aborted_us = release, None
                self._turn_off()
        return self._release is not None

    def _turn_off(self) -> None:
        if self._is_on:
            self._indicator.turn_off()
            self._is_on = False

    def finish(self) -> None:
        """At the end of the process: turn the indicator off if the device has closed."""
        if self.device.join(RELEASE_US / SECOND):
            self._indicator.turn_off()

    def _check_release(self) -> None:
        if self._aborted_us is None:
            return
        self.device.abort()  # again: a connection that was about to be opened could not be interrupted before
        if self._clock.now_us() - self._aborted_us < RELEASE_US:
            return
        logging.getLogger(self.modality).error(
            "%s was not released within %d ms; this process ends to close it",
            self.device.name,
            RELEASE_US // 1000,
        )
        self._leave(EXIT_HELD)

    def _publish_blocks(self) -> None:
        blocks = self.device.read()  # also while closed: it resets the descriptor that woke the loop
        if self._open_epoch is None:
            return
        for block in blocks:
            self._liveness.arrived(block.arrived_us, is_frozen(block.frozen, block.repeats))
            if isinstance(block.body, RawAudio) and block.payload:
                self._loudness.arrived(block.arrived_us, level_db(block.payload[0]))
        allowed = self._budget.take(len(blocks), self._clock.now_us())
        self.flood += len(blocks) - allowed
        for block in blocks[len(blocks) - allowed :]:
            if self.gate.is_open and not is_frozen(block.frozen, block.repeats):
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
        now = self._clock.now_us()
        health, reason = self._liveness.health(now)
        return self.device.fault or Fault(*(self._loudness.health(now) if health == "ok" else (health, reason)))

    def _publish_state(self, measured: Fault) -> None:
        now = self._clock.now_us()
        reason = (None if measured.health == "ok" else measured.reason) if self.gate.is_open else self.gate.reason
        held = not self.gate.is_open and not self._is_released()  # masked is reported only after the close
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
        if state == self._published and now < self._state_due:
            return
        if self._published is None or (state.gate, state.health) != (self._published.gate, self._published.health):
            why = f": {state.reason}" if state.reason else ""
            logging.getLogger(self.modality).info("gate %s, sensor %s%s", state.gate, state.health, why)
        self._published, self._state_due = state, now + STATE_US
        counters = self.counters
        rate = 0.0 if self._open_epoch is None else self._liveness.rate_hz(now)
        full = msgspec.structs.replace(state, rate_hz=rate, dropped=counters.get("dropped", 0) + counters["flood"])
        self._state.send(full, origin_us=now)

    def _due_us(self) -> int:
        now = self._clock.now_us()
        due = [self._state_due]
        if self.gate.is_open and self._open_epoch is None:
            due.append(now + POLL_US)  # until the indicator is on or the release is complete
        if self._aborted_us is not None:
            due.append(min(now + POLL_US, self._aborted_us + RELEASE_US))
        if self._open_epoch is not None:
            due += self._liveness.due(now)
        return max(0, min(due) - now)


class CaptureWorker:
    """The worker of a capture process: it takes the turns of its sources."""

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
