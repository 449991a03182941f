"""What the house knows of one room: its gates, its newest estimate, and its clock. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Gate, Modality, modalities_of
from edge_mer.contract.house import RoomState
from edge_mer.contract.messages import Estimate, Message, Privacy
from edge_mer.gateway.stale_after_mask import StaleAfterMask

# A state or an estimate that is older is not shown.
STALE_US = 3 * SECOND + SECOND // 2
# The least delays of so many seconds give the offset of a clock.
SPAN = 30
NEVER_REACHED, SILENT = "it cannot be reached", "nothing arrives from it"
SWITCH_SILENT = "its privacy switch is silent; every device closes within one lease"


@dataclass
class RoomClock:
    """From the room's monotonic time to that of this host: the least (arrival minus creation) of the last half minute.

    It takes no wall clock, so one that is wrong by hours changes nothing. It is late by the time that the fastest
    message took, which is less than the fastest round trip: the uncertainty.
    """

    least: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=SPAN))
    trips: deque[int] = field(default_factory=lambda: deque(maxlen=8))

    def arrived(self, created_us: int, now_us: int) -> None:
        second, offset = now_us // SECOND, now_us - created_us
        if self.least and self.least[-1][0] == second:
            self.least[-1] = second, min(offset, self.least[-1][1])
        else:
            self.least.append((second, offset))

    @property
    def offset_us(self) -> int | None:
        return min((offset for _, offset in self.least), default=None)

    @property
    def uncertainty_us(self) -> int | None:
        """None until a request was answered."""
        return min(self.trips, default=None)


@dataclass
class RoomView:
    """Folded from messages that have passed ``Room.messages``."""

    clock: RoomClock = field(default_factory=RoomClock)
    privacy: Privacy | None = None
    privacy_at_us: int = 0
    heard_at_us: int | None = None
    estimate: Estimate | None = None
    estimate_at_us: int = 0
    boot: str = ""
    epochs: dict[Modality, int] = field(default_factory=dict)
    stale: StaleAfterMask = field(default_factory=StaleAfterMask)

    def fold(self, message: Message[Any], now_us: int) -> list[tuple[Modality, int]]:
        """Returns the modalities that this message masks, each with its epoch; what they gave is forgotten."""
        body, envelope = message.body, message.envelope
        if (
            message.topic == "clock" and envelope.boot != self.boot
        ):  # another supervisor: perhaps another monotonic time
            self.boot = envelope.boot
            self.clock.least.clear()
        self.heard_at_us = now_us
        self.clock.arrived(envelope.created_us, now_us)
        if isinstance(body, Privacy):
            return self._privacy(body, envelope.created_us, now_us)
        if message.topic == "emotion" and body.is_current and not self.stale.is_stale(message):
            self.estimate, self.estimate_at_us = body, now_us
        return []

    def _privacy(self, body: Privacy, created_us: int, now_us: int) -> list[tuple[Modality, int]]:
        self.privacy, self.privacy_at_us = body, now_us
        masked = [(m, s.mask_epoch) for m, s in body.modalities.items() if s.requested != "live"]
        new = [(m, epoch) for m, epoch in masked if epoch > self.epochs.get(m, -1)]
        if new:
            self.epochs.update(new)
            self.stale.record_mask(max(epoch for _, epoch in new), created_us)
            self.estimate = None
        return new

    def state(self, now_us: int) -> RoomState:
        fault = None
        if self.heard_at_us is None:
            fault = NEVER_REACHED
        elif now_us - self.heard_at_us > STALE_US:
            fault = SILENT
        elif self.privacy is None or now_us - self.privacy_at_us > STALE_US:
            fault = SWITCH_SILENT
        uncertainty = self.clock.uncertainty_us
        if fault is not None or self.privacy is None:
            return RoomState(False, fault, {}, (), None, None, uncertainty)
        states = self.privacy.modalities
        # One that is not masked counts as live also while no device is open: it may open at any time.
        gates: dict[Modality, Gate] = {m: "live" if s.effective == "live" else s.requested for m, s in states.items()}
        ends = [s.until_us for s in states.values() if s.until_us is not None]
        estimate = self.estimate if now_us - self.estimate_at_us <= STALE_US else None
        sensed = modalities_of(estimate.combination) if estimate is not None else ()
        label = estimate.label if estimate is not None else None
        return RoomState(True, None, gates, sensed, label, min(ends, default=None), uncertainty)
