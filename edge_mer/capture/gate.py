"""The gate: one modality's permission to have its device open, inside the process that owns the device.

It fails closed. It is open while a lease that this process verified is in force. A forged lease, a switch that does
not answer, a suspended host or an order to close make ``is_open`` False.
"""

from __future__ import annotations

from pathlib import Path

from edge_mer.bus import Bus
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Close, Closed, Lease, LeaseRequest, Refused, Register
from edge_mer.contract.domain import Gate, Modality
from edge_mer.contract.errors import ConfigError, LeaseError
from edge_mer.host.process_handle import this_process
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.lease import LeaseVerifier, holder_name, in_force

REGISTER_US = SECOND
# Request interval until the switch has answered once: it may still be starting.
FIRST_REQUEST_US = SECOND // 20


class DeviceGate:
    """Call ``turn`` in every turn, open and close the device with ``is_open``, ``confirm_closed`` while it is closed.

    ``directory`` is the privacy state directory, where the host's public key is. ``mask_epoch`` goes into every
    message of this modality. ``reason`` says why the gate is not live, for display.
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
        self._switch, self._process = bus.client("switch"), this_process()
        self._verifier: LeaseVerifier | None = None
        self._lease: Lease | None = None
        self._closed_as: Gate = "masked"
        self._reason = "the switch has not answered yet"
        self._answered = False
        self._close_order: int | None = None
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
        """Exchange messages with the switch; returns the longest wait (us) until the next turn.

        ``last_seq``: sequence number of the last raw message published, None before the first.
        """
        while (message := self._switch.receive()) is not None:
            if isinstance(message, Lease) and message.modality == self.modality:
                self._accept_lease(message)
            elif isinstance(message, (Refused, Close)) and message.modality == self.modality:
                self._close(message)
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
                    process=self._process,
                )
            )
        if now >= self._request_due:
            self._request_due = now + (self._lease_us // 4 if self._answered else FIRST_REQUEST_US)
            self._switch.send(
                LeaseRequest(
                    modality=self.modality,
                    name=self._name,
                    boot=self._bus.boot,
                    last_seq=last_seq,
                    process=self._process,
                )
            )
        return max(0, min(self._request_due - now, self._remaining_us()))

    def confirm_closed(self, last_seq: int | None, check: str) -> None:
        """Report to the switch that the device is closed, once per order to close; without an order nothing is sent.

        ``check`` says how that was measured.
        """
        if self._close_order is None:
            return
        self._switch.send(
            Closed(
                modality=self.modality,
                name=self._name,
                boot=self._bus.boot,
                mask_epoch=self._close_order,
                closed_us=self._clock.now_us(),
                last_seq=last_seq,
                handle_closed=True,
                check=check,
            )
        )
        self._close_order = None

    def _accept_lease(self, lease: Lease) -> None:
        self._answered = True
        try:
            self._verify(lease)
        except (LeaseError, ConfigError) as error:
            self.refused_leases += 1
            self._reason = str(error)
            return
        self._lease, self._closed_as, self._close_order = lease, "masked", None
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

    def _close(self, order: Refused | Close) -> None:
        self._answered = True
        if order.mask_epoch < self.mask_epoch:
            return  # the order is older than the current lease
        if isinstance(order, Close) or self._lease is not None:
            self._close_order = order.mask_epoch
        self._lease = None
        self._closed_as = "hard" if order.gate == "hard" else "masked"
        self._reason = order.reason
        self.mask_epoch = order.mask_epoch
        if self._verifier is not None:
            self._verifier.require_epoch(order.mask_epoch)

    def _remaining_us(self) -> int:
        """Time until the lease runs out: then the device must close, with or without a message."""
        if self._lease is None or not self.is_open:
            return REGISTER_US
        return self._lease.expires_us - self._clock.boottime_us()
