"""The gate: one modality's leave to have its device open, held inside the process that owns the device.

It fails closed. Open means that a lease which this process verified is in force at this moment; a forged lease,
a silent switch, a suspended host or an order to close all end the same way: ``is_open`` is False.
"""

from __future__ import annotations

from pathlib import Path

from edge_mer.bus import Bus
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Close, Closed, Lease, LeaseRequest, Refused, Register
from edge_mer.contract.domain import Gate, Modality
from edge_mer.contract.errors import ConfigError, LeaseError
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.lease import LeaseVerifier, holder_name, in_force

REGISTER_US = SECOND
# Until the switch has answered once, ask often: it may still be starting.
EAGER_US = SECOND // 20


class DeviceGate:
    """Call ``turn`` in every turn, obey ``is_open`` at once, and ``confirm_closed`` while the device is closed.

    ``directory`` is the privacy state directory, where the host's public key is. ``mask_epoch`` goes into every
    message of this modality. ``reason`` says why the gate is not live, in words for people.
    """

    def __init__(
        self, bus: Bus, modality: Modality, name: str, directory: Path, lease_us: int, boot_id: str | None = None
    ) -> None:
        self.modality = modality
        self.mask_epoch = 0
        self.refused_leases = 0
        self._name, self._directory, self._lease_us = name, directory, lease_us
        self._bus, self._clock = bus, bus.clock
        self._boot_id = boot_id or host_boot_id()
        self._switch = bus.client("switch")
        self._verifier: LeaseVerifier | None = None
        self._lease: Lease | None = None
        self._closed_as: Gate = "masked"
        self._reason = "the switch has not answered yet"
        self._answered = False
        self._ordered: int | None = None
        self._request_due = self._register_due = 0

    @property
    def is_open(self) -> bool:
        return self._lease is not None and in_force(self._lease, self._clock)

    @property
    def state(self) -> Gate:
        return "live" if self.is_open else self._closed_as

    @property
    def reason(self) -> str | None:
        if self.is_open:
            return None
        return "the lease ran out: the switch does not answer" if self._lease else self._reason

    def turn(self, last_seq: int | None) -> int:
        """Talk to the switch; returns the longest wait (us) until the next turn.

        ``last_seq``: sequence number of the last raw message published, None before the first.
        """
        while (message := self._switch.receive()) is not None:
            if isinstance(message, Lease) and message.modality == self.modality:
                self._take(message)
            elif isinstance(message, (Refused, Close)) and message.modality == self.modality:
                self._obey(message)
        now = self._clock.now_us()
        if now >= self._register_due:
            self._register_due = now + REGISTER_US
            self._switch.send(
                Register(
                    name=self._name,
                    boot=self._bus.boot,
                    modalities=(self.modality,),
                    gate=True,
                    mask_epoch=self.mask_epoch,
                )
            )
        if now >= self._request_due:
            self._request_due = now + (self._lease_us // 4 if self._answered else EAGER_US)
            self._switch.send(
                LeaseRequest(modality=self.modality, name=self._name, boot=self._bus.boot, last_seq=last_seq)
            )
        return max(0, min(self._request_due - now, self._remaining_us()))

    def confirm_closed(self, last_seq: int | None, check: str) -> None:
        """Tell the switch that the device is closed, once per order to close; does nothing without an order.

        ``check`` says how that was measured.
        """
        if self._ordered is None:
            return
        self._switch.send(
            Closed(
                modality=self.modality,
                name=self._name,
                mask_epoch=self._ordered,
                closed_us=self._clock.now_us(),
                last_seq=last_seq,
                handle_closed=True,
                check=check,
            )
        )
        self._ordered = None

    def _take(self, lease: Lease) -> None:
        self._answered = True
        try:
            self._verify(lease)
        except (LeaseError, ConfigError) as error:
            self.refused_leases += 1
            self._reason = str(error)
            return
        self._lease, self._closed_as, self._ordered = lease, "masked", None
        self.mask_epoch = lease.mask_epoch

    def _verify(self, lease: Lease) -> None:
        if self._verifier is None:
            key = public_key(self._directory)
            if key is None:
                raise LeaseError(
                    f"{self._directory} holds no public key of this host; is privacy.state the same for all?"
                )
            self._verifier = LeaseVerifier(
                key, self.modality, holder_name(self._name, self._bus.boot), self._boot_id, self._clock
            )
            self._verifier.require_epoch(self.mask_epoch)
        self._verifier.accept(lease)

    def _obey(self, order: Refused | Close) -> None:
        self._answered = True
        if order.mask_epoch < self.mask_epoch:
            return  # about a time before the lease that is held now
        if isinstance(order, Close) or self._lease is not None:
            self._ordered = order.mask_epoch
        self._lease = None
        self._closed_as = "hard" if order.gate == "hard" else "masked"
        self._reason = order.reason
        self.mask_epoch = order.mask_epoch
        if self._verifier is not None:
            self._verifier.require_epoch(order.mask_epoch)

    def _remaining_us(self) -> int:
        """Until the lease runs out: then the device must close, whether a message came or not."""
        if self._lease is None or not self.is_open:
            return REGISTER_US
        return self._lease.expires_us - self._clock.boottime_us()
