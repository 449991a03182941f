"""Messages between the switch and gates and data holders: leases, and orders that are repeated until confirmed."""

from __future__ import annotations

from collections import Counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_mer.bus import Server
from edge_mer.contract.clock import Clock
from edge_mer.contract.control import Close, Closed, Exited, Lease, LeaseRequest, Purge, Purged, Refused, Register
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.messages import PrivacyState
from edge_mer.privacy.keys.lease import holder_name
from edge_mer.privacy.keys.signing import sign
from edge_mer.privacy.switch.modality_gate import ModalityGate
from edge_mer.privacy.switch.registrations import Member, Registrations

# Stands for gates that an earlier life of the switch gave leases to, and that have not spoken to this one yet.
FORMER = "a gate from before the switch restarted"
# No count of masks gets there; a greater epoch on the wire is an error.
MOST_EPOCHS = 1 << 53


class ModalityGates:
    """``former_until_us``: until then a lease of an earlier life of the switch may hold a device open.

    ``known_epoch``: the newest mask epoch that any gate or data holder knows.
    """

    def __init__(
        self, server: Server, clock: Clock, key: Ed25519PrivateKey, boot_id: str, lease_us: int, former_until_us: int
    ) -> None:
        self.former_until_us = former_until_us
        self.counters: Counter[str] = Counter()
        self.known_epoch = 0
        self._server, self._clock, self._key = server, clock, key
        self._boot_id, self._lease_us = boot_id, lease_us
        self._lease_counter = 0
        self._registrations = Registrations()
        self._of = {m: ModalityGate("masked", 0, 0, None, "", 0) for m in MODALITIES}
        for modality_gate in self._of.values():  # leases that this life did not sign, but that may be in force
            modality_gate.leased_until_us = clock.boottime_us() + max(0, former_until_us - clock.now_us())

    def __getitem__(self, modality: Modality) -> ModalityGate:
        return self._of[modality]

    def states(self) -> dict[Modality, PrivacyState]:
        now = self._clock.boottime_us()
        return {m: modality_gate.state(now) for m, modality_gate in self._of.items()}

    def change(self, modality: Modality, modality_gate: ModalityGate) -> None:
        """A new mask epoch of one modality. A mask is ordered at once; nothing opens before ``open``."""
        modality_gate.leased_until_us = self._of[modality].leased_until_us
        self._of[modality] = modality_gate
        if modality_gate.requested != "live":
            former = {FORMER} if self._clock.now_us() < self.former_until_us else set()
            modality_gate.unclosed = set(self._registrations.gates_of(modality)) | former
            modality_gate.unpurged = set(self._registrations.children_of(modality))
            self._send_orders(modality)

    def open(self, modality: Modality) -> None:
        """Leases for every gate of a modality that is live now."""
        for name, gate in self._registrations.gates_of(modality).items():
            self._send_lease(gate.peer, modality, name, gate.boot)

    def handle(self, peer: bytes, message: object) -> bool:
        """Whether the message was one of a gate, a child or the supervisor."""
        if isinstance(message, Register):
            self._register(peer, message)
        elif isinstance(message, LeaseRequest):
            if self._register_gate(peer, message.name, message.boot, message.modality):
                self._send_lease(peer, message.modality, message.name, message.boot)
        elif isinstance(message, Closed):
            self._of[message.modality].confirm(message)
        elif isinstance(message, Purged):
            modality_gate = self._of[message.modality]
            if message.mask_epoch >= modality_gate.epoch:
                modality_gate.purge(message.name, self._clock.now_us())
        elif isinstance(message, Exited):
            self._exited(message)
        else:
            return False
        return True

    def turn(self) -> None:
        """Count what ended by itself, and repeat orders that were not confirmed."""
        now = self._clock.now_us()
        for name in self._registrations.forget_silent_children(now):
            self._purged_by_death(name, "silent, so it ended")
        for modality, modality_gate in self._of.items():
            if now >= self.former_until_us:
                modality_gate.close(FORMER, now, "its lease ran out")
            if modality_gate.pending and now >= modality_gate.resend_due:
                self._send_orders(modality)

    @property
    def due_us(self) -> list[int]:
        return [
            min(c.resend_due, self.former_until_us if FORMER in c.unclosed else c.resend_due)
            for c in self._of.values()
            if c.pending
        ]

    def complaints(self, modalities: frozenset[Modality]) -> list[str]:
        return [text for m in MODALITIES if m in modalities for text in self._of[m].complaint(m)]

    # -- who takes part ------------------------------------------------------------------------------------------

    def _register(self, peer: bytes, message: Register) -> None:
        if message.mask_epoch <= MOST_EPOCHS:
            self.known_epoch = max(self.known_epoch, message.mask_epoch)
        if message.gate:
            for modality in message.modalities:
                self._register_gate(peer, message.name, message.boot, modality)
            return
        known = self._registrations.children.get(message.name)
        if self._registrations.crowded(known is not None, child=True):
            self.counters["crowd"] += 1
            return
        now = self._clock.now_us()
        self._registrations.children[message.name] = Member(peer, message.boot, message.modalities, now)
        if known is not None and known.boot == message.boot:
            return
        self._purged_by_death(message.name, "its process ended")
        for modality in message.modalities:  # it may have slept through a mask
            modality_gate = self._of[modality]
            if modality_gate.requested != "live":
                if known is None and FORMER in modality_gate.unclosed:  # it may have served the former switch
                    modality_gate.unpurged.add(message.name)
                self._server.send(peer, Purge(modality=modality, mask_epoch=modality_gate.epoch))

    def _register_gate(self, peer: bytes, name: str, boot: str, modality: Modality) -> bool:
        known, modality_gate = self._registrations.gates.get((name, modality)), self._of[modality]
        if self._registrations.crowded(known is not None, child=False):
            self.counters["crowd"] += 1
            return False
        now = self._clock.now_us()
        if known is not None and known.boot != boot:  # one process at a time holds the endpoint: the old one is gone
            modality_gate.close(name, now, "its process ended, and a new one took its place")
        self._registrations.gates[name, modality] = Member(peer, boot, (modality,), now)
        if known is None and FORMER in modality_gate.unclosed:  # it may be the one that still holds a lease
            modality_gate.unclosed.add(name)
            self._send_close(peer, modality)
        return True

    def _exited(self, message: Exited) -> None:
        """The process is gone, and with it its handles and its memory."""
        gates, was_child = self._registrations.left(message.name, message.boot)
        for modality in gates:
            self._of[modality].close(message.name, self._clock.now_us(), "its process ended")
        if was_child:
            self._purged_by_death(message.name, "its process ended")

    def _purged_by_death(self, name: str, how: str) -> None:
        for modality_gate in self._of.values():
            modality_gate.purge(name, self._clock.now_us(), how)

    # -- leases and orders ---------------------------------------------------------------------------------------

    def _send_lease(self, peer: bytes, modality: Modality, name: str, boot: str) -> None:
        modality_gate = self._of[modality]
        if modality_gate.requested == "live":
            lease = self._lease(modality, modality_gate, holder_name(name, boot))
            modality_gate.leased_until_us = lease.expires_us
            self._server.send(peer, lease)
        else:
            self._server.send(
                peer,
                Refused(
                    modality=modality,
                    gate=modality_gate.requested,
                    mask_epoch=modality_gate.epoch,
                    reason=modality_gate.reason or "masked",
                ),
            )

    def _lease(self, modality: Modality, modality_gate: ModalityGate, holder: str) -> Lease:
        now = self._clock.boottime_us()
        self._lease_counter = max(self._lease_counter + 1, now)  # grows over restarts too, within one boot
        lease = Lease(
            modality=modality,
            holder=holder,
            boot_id=self._boot_id,
            counter=self._lease_counter,
            mask_epoch=modality_gate.epoch,
            issued_us=now,
            expires_us=now + self._lease_us,
        )
        return sign(self._key, lease)

    def _send_orders(self, modality: Modality) -> None:
        """Send the orders to every process that has not confirmed, at growing intervals."""
        modality_gate = self._of[modality]
        modality_gate.sent(self._clock.now_us())
        for name, gate in self._registrations.gates_of(modality).items():
            if name in modality_gate.unclosed:
                self._send_close(gate.peer, modality)
        for name, child in self._registrations.children_of(modality).items():
            if name in modality_gate.unpurged:
                self._server.send(child.peer, Purge(modality=modality, mask_epoch=modality_gate.epoch))

    def _send_close(self, peer: bytes, modality: Modality) -> None:
        modality_gate = self._of[modality]
        gate: Gate = modality_gate.requested
        self._server.send(
            peer,
            Close(
                modality=modality, gate=gate, mask_epoch=modality_gate.epoch, reason=modality_gate.reason or "masked"
            ),
        )
