"""The switch's talk with gates and lineage children: leases to the one, orders to both, until all have confirmed."""

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


class ModalityGates:
    """``former_until_us``: until then a lease of an earlier life of the switch may hold a device open."""

    def __init__(
        self, server: Server, clock: Clock, key: Ed25519PrivateKey, boot_id: str, lease_us: int, former_until_us: int
    ) -> None:
        self.former_until_us = former_until_us
        self.counters: Counter[str] = Counter()
        self._server, self._clock, self._key = server, clock, key
        self._boot_id, self._lease_us = boot_id, lease_us
        self._lease_counter = 0
        self._members = Registrations()
        self._of = {m: ModalityGate("masked", 0, 0, None, "", 0) for m in MODALITIES}
        for channel in self._of.values():  # leases that this life did not sign, but that may be in force
            channel.leased_until_us = clock.boottime_us() + max(0, former_until_us - clock.now_us())

    def __getitem__(self, modality: Modality) -> ModalityGate:
        return self._of[modality]

    def states(self) -> dict[Modality, PrivacyState]:
        now = self._clock.boottime_us()
        return {m: channel.state(now) for m, channel in self._of.items()}

    def change(self, modality: Modality, channel: ModalityGate) -> None:
        """A new mask epoch of one modality. A mask is ordered at once; nothing opens before ``open``."""
        channel.leased_until_us = self._of[modality].leased_until_us
        self._of[modality] = channel
        if channel.requested != "live":
            former = {FORMER} if self._clock.now_us() < self.former_until_us else set()
            channel.unclosed = set(self._members.gates_of(modality)) | former
            channel.unpurged = set(self._members.children_of(modality))
            self._order(modality)

    def open(self, modality: Modality) -> None:
        """Leases for every gate of a modality that is live now."""
        for name, gate in self._members.gates_of(modality).items():
            self._give_leave(gate.peer, modality, name, gate.boot)

    def handle(self, peer: bytes, message: object) -> bool:
        """Whether the message was one of a gate, a child or the supervisor."""
        if isinstance(message, Register):
            self._register(peer, message)
        elif isinstance(message, LeaseRequest):
            if self._join(peer, message.name, message.boot, message.modality):
                self._give_leave(peer, message.modality, message.name, message.boot)
        elif isinstance(message, Closed):
            self._of[message.modality].confirm(message)
        elif isinstance(message, Purged):
            channel = self._of[message.modality]
            if message.mask_epoch >= channel.epoch:
                channel.purge(message.name, self._clock.now_us())
        elif isinstance(message, Exited):
            self._exited(message)
        else:
            return False
        return True

    def turn(self) -> None:
        """Let what ended by itself count, and say again what was not confirmed."""
        now = self._clock.now_us()
        for name in self._members.forget_silent_children(now):
            self._purged_by_death(name, "silent, so it ended")
        for modality, channel in self._of.items():
            if now >= self.former_until_us:
                channel.close(FORMER, now, "its lease ran out")
            if channel.pending and now >= channel.resend_due:
                self._order(modality)

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
        if message.gate:
            for modality in message.modalities:
                self._join(peer, message.name, message.boot, modality)
            return
        known = self._members.children.get(message.name)
        if self._members.crowded(known is not None, child=True):
            self.counters["crowd"] += 1
            return
        now = self._clock.now_us()
        self._members.children[message.name] = Member(peer, message.boot, message.modalities, now)
        if known is not None and known.boot == message.boot:
            return
        self._purged_by_death(message.name, "its process ended")
        for modality in message.modalities:  # it may have slept through a mask
            channel = self._of[modality]
            if channel.requested != "live":
                if known is None and FORMER in channel.unclosed:  # it may have served the former switch
                    channel.unpurged.add(message.name)
                self._server.send(peer, Purge(modality=modality, mask_epoch=channel.epoch))

    def _join(self, peer: bytes, name: str, boot: str, modality: Modality) -> bool:
        known, channel = self._members.gates.get((name, modality)), self._of[modality]
        if self._members.crowded(known is not None, child=False):
            self.counters["crowd"] += 1
            return False
        now = self._clock.now_us()
        if known is not None and known.boot != boot:  # one process at a time holds the endpoint: the old one is gone
            channel.close(name, now, "its process ended, and a new one took its place")
        self._members.gates[name, modality] = Member(peer, boot, (modality,), now)
        if known is None and FORMER in channel.unclosed:  # it may be the one that still holds a lease
            channel.unclosed.add(name)
            self._send_close(peer, modality)
        return True

    def _exited(self, message: Exited) -> None:
        """The process is gone, and with it its handles and its memory."""
        gates, was_child = self._members.left(message.name, message.boot)
        for modality in gates:
            self._of[modality].close(message.name, self._clock.now_us(), "its process ended")
        if was_child:
            self._purged_by_death(message.name, "its process ended")

    def _purged_by_death(self, name: str, how: str) -> None:
        for channel in self._of.values():
            channel.purge(name, self._clock.now_us(), how)

    # -- what they are told --------------------------------------------------------------------------------------

    def _give_leave(self, peer: bytes, modality: Modality, name: str, boot: str) -> None:
        channel = self._of[modality]
        if channel.requested == "live":
            lease = self._lease(modality, channel, holder_name(name, boot))
            channel.leased_until_us = lease.expires_us
            self._server.send(peer, lease)
        else:
            self._server.send(
                peer,
                Refused(
                    modality=modality,
                    gate=channel.requested,
                    mask_epoch=channel.epoch,
                    reason=channel.reason or "masked",
                ),
            )

    def _lease(self, modality: Modality, channel: ModalityGate, holder: str) -> Lease:
        now = self._clock.boottime_us()
        self._lease_counter = max(self._lease_counter + 1, now)  # grows over restarts too, within one boot
        lease = Lease(
            modality=modality,
            holder=holder,
            boot_id=self._boot_id,
            counter=self._lease_counter,
            mask_epoch=channel.epoch,
            issued_us=now,
            expires_us=now + self._lease_us,
        )
        return sign(self._key, lease)

    def _order(self, modality: Modality) -> None:
        """Tell everyone who has not confirmed, again and again, ever more slowly."""
        channel = self._of[modality]
        channel.sent(self._clock.now_us())
        for name, gate in self._members.gates_of(modality).items():
            if name in channel.unclosed:
                self._send_close(gate.peer, modality)
        for name, child in self._members.children_of(modality).items():
            if name in channel.unpurged:
                self._server.send(child.peer, Purge(modality=modality, mask_epoch=channel.epoch))

    def _send_close(self, peer: bytes, modality: Modality) -> None:
        channel = self._of[modality]
        gate: Gate = channel.requested
        self._server.send(
            peer, Close(modality=modality, gate=gate, mask_epoch=channel.epoch, reason=channel.reason or "masked")
        )
