"""Messages between the switch and gates and data holders: leases, and orders that are repeated until confirmed.

One that is stopped (SIGSTOP, Ctrl-Z, a debugger) is killed when it owes a confirmation. Resumed, it would first go on
with what it was doing, such as writing what it holds, and a recording that its user has stopped would go on; whoever
stopped it could do so again. Killed, it holds nothing, the kernel proves that, and the supervisor restarts its own.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_mer.bus import Server
from edge_mer.contract.clock import Clock
from edge_mer.contract.control import (
    Close,
    Closed,
    Exited,
    Lease,
    LeaseRequest,
    PersonsMasked,
    Purge,
    Purged,
    Refused,
    Register,
)
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import PrivacyState
from edge_mer.contract.people import MaskedPeople
from edge_mer.host.process_handle import open_process
from edge_mer.privacy.keys.lease import holder_name
from edge_mer.privacy.keys.signing import sign
from edge_mer.privacy.switch.modality_gate import COMPLAIN_US, ModalityGate
from edge_mer.privacy.switch.people_gate import MOST_EPOCHS, PeopleGate
from edge_mer.privacy.switch.registrations import Key, Member, Registrations

# Stands for gates that an earlier life of the switch gave leases to, and that have not spoken to this one yet.
FORMER: Key = ("a gate from before the switch restarted", "")
ENDED, KILLED = "its process ended", "it was stopped, so it was killed"
log = logging.getLogger("switch")


class ModalityGates:
    """``former_until_us``: until then a lease of an earlier life of the switch may hold a device open.

    ``known_epoch``: the newest mask epoch that any gate or data holder knows. ``members``: the file of who takes part.
    ``people``: masks of single persons.
    """

    def __init__(
        self,
        server: Server,
        clock: Clock,
        key: Ed25519PrivateKey,
        boot_id: str,
        lease_us: int,
        former_until_us: int,
        members: Path | None = None,
    ) -> None:
        self.former_until_us = former_until_us
        self.counters: Counter[str] = Counter()
        self.known_epoch = 0
        self._server, self._clock, self._key = server, clock, key
        self._boot_id, self._lease_us = boot_id, lease_us
        self._lease_counter = 0
        self._registrations = Registrations(members, boot_id)
        self.people = PeopleGate(server, clock, self._registrations)
        self._killed: set[Key] = set()
        self._of = {m: ModalityGate("masked", 0, 0, None, "", 0) for m in MODALITIES}
        for modality_gate in self._of.values():  # leases that this life did not sign, but that may be in force
            modality_gate.leased_until_us = clock.boottime_us() + max(0, former_until_us - clock.now_us())
        for member in self._registrations.recall():
            self._add(member)

    def __getitem__(self, modality: Modality) -> ModalityGate:
        return self._of[modality]

    def states(self) -> dict[Modality, PrivacyState]:
        """What is not confirmed after a second is published until it is."""
        boottime, late = self._clock.boottime_us(), self._clock.now_us() - COMPLAIN_US
        return {
            m: gate.state(boottime, tuple(gate.complaint(m, self._why)) if gate.since_us <= late else ())
            for m, gate in self._of.items()
        }

    def people_state(self) -> MaskedPeople | None:
        return self.people.state(self._why)

    def people_complaints(self, persons: tuple[str, ...]) -> list[str]:
        return self.people.complaints(persons, self._why)

    def change(self, modality: Modality, modality_gate: ModalityGate) -> None:
        """A new mask epoch of one modality. A mask is ordered at once; nothing opens before ``open``."""
        modality_gate.leased_until_us = self._of[modality].leased_until_us
        self._of[modality] = modality_gate
        if modality_gate.requested != "live":
            former = {FORMER} if self._clock.now_us() < self.former_until_us else set()
            modality_gate.unclosed = {m.key for m in self._registrations.gates_of(modality)} | former
            modality_gate.unpurged = {m.key for m in self._registrations.holders_of(modality)}
            self._send_orders(modality)

    def open(self, modality: Modality) -> None:
        """Leases for every gate of a modality that is live now."""
        for gate in self._registrations.gates_of(modality):
            self._send_lease(gate, modality)

    def handle(self, peer: bytes, message: object) -> bool:
        """Whether the message was one of a gate, a data holder or the supervisor."""
        if isinstance(message, Register):
            if message.mask_epoch <= MOST_EPOCHS:
                self.known_epoch = max(self.known_epoch, message.mask_epoch)
            key = message.name, message.boot
            for part in ((m,) for m in message.modalities) if message.gate else (message.modalities,):
                if self._add(Member(key, message.gate, part, message.process, peer=peer, persons=message.persons)):
                    self.people.registered(message)
        elif isinstance(message, PersonsMasked):
            self.people.confirm(message)
        elif isinstance(message, LeaseRequest):
            gate = Member((message.name, message.boot), True, (message.modality,), message.process, peer=peer)
            if self._add(gate):
                self._send_lease(gate, message.modality)
        elif isinstance(message, Closed):
            self._of[message.modality].confirm(message)
        elif isinstance(message, Purged):
            modality_gate = self._of[message.modality]
            if message.mask_epoch >= modality_gate.epoch:
                modality_gate.purge((message.name, message.boot), self._clock.now_us())
        elif isinstance(message, Exited):
            self._ended((message.name, message.boot))
        else:
            return False
        return True

    def turn(self) -> None:
        """Count what ended by itself, and repeat orders that were not confirmed."""
        now = self._clock.now_us()
        for key in self._registrations.ended():
            self._ended(key)
        for modality, modality_gate in self._of.items():
            if now >= self.former_until_us:
                modality_gate.close(FORMER, now, "its lease ran out")
            if modality_gate.pending and now >= modality_gate.resend_due:
                self._kill_stopped(modality_gate)
                self._send_orders(modality)
        if self.people.gate.pending and now >= self.people.gate.resend_due:
            self._kill_stopped(self.people.gate)
            self.people.send()

    @property
    def wake(self) -> tuple[int, ...]:
        """Readable when a gate or data holder ends."""
        return self._registrations.fds

    @property
    def fault(self) -> str:
        return self._registrations.fault

    @property
    def due_us(self) -> list[int]:
        return [
            min(c.resend_due, self.former_until_us if FORMER in c.unclosed else c.resend_due)
            for c in (*self._of.values(), self.people.gate)
            if c.pending
        ]

    def complaints(self, modalities: frozenset[Modality]) -> list[str]:
        return [text for m in MODALITIES if m in modalities for text in self._of[m].complaint(m, self._why)]

    # -- who takes part ------------------------------------------------------------------------------------------

    def _add(self, member: Member) -> bool:
        """Whether it takes part now: not when its process has ended already, or there are too many."""
        known = self._registrations.find(member)
        if known is not None:
            was_absent, known.peer = known.peer is None, member.peer
            if was_absent:
                self._send_order(known)
                self.people.welcome(known)
            return True
        member.process, has_ended = open_process(member.id)
        if has_ended:
            return False
        if not self._registrations.add(member):
            self.counters["crowd"] += 1
            return False
        for modality in member.modalities:
            modality_gate = self._of[modality]
            if not member.gate and modality_gate.is_unproven:  # it may hold what came before the mask
                modality_gate.unpurged.add(member.key)
            elif member.gate and FORMER in modality_gate.unclosed:  # it may be the one that still holds a lease
                modality_gate.unclosed.add(member.key)
        self._send_order(member)
        self.people.welcome(member)
        return True

    def _ended(self, key: Key) -> None:
        """The process is gone, and with it its handles and its memory."""
        how = KILLED if key in self._killed else ENDED
        self._killed.discard(key)
        if self._registrations.remove(key):
            self.people.ended(key, how)
            for modality_gate in self._of.values():
                modality_gate.close(key, self._clock.now_us(), how)
                modality_gate.purge(key, self._clock.now_us(), how)

    def _kill_stopped(self, modality_gate: ModalityGate) -> None:
        for key in modality_gate.unclosed | modality_gate.unpurged:
            for member in self._registrations.of(key)[:1]:
                if member.process is not None and member.process.stopped:
                    if key not in self._killed:
                        log.warning(
                            "%s is stopped and owes a confirmation: killing process %d", key[0], member.process.pid
                        )
                        self._killed.add(key)
                    member.process.kill()

    def _why(self, key: Key) -> str:
        return next((member.why for member in self._registrations.of(key)), "")

    # -- leases and orders ---------------------------------------------------------------------------------------

    def _send_lease(self, gate: Member, modality: Modality) -> None:
        modality_gate = self._of[modality]
        if gate.peer is None:
            return
        if modality_gate.requested == "live":
            lease = self._lease(modality, modality_gate, holder_name(*gate.key))
            modality_gate.leased_until_us = lease.expires_us
            self._server.send(gate.peer, lease)
        else:
            self._server.send(
                gate.peer,
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
        for gate in self._registrations.gates_of(modality):
            if gate.key in modality_gate.unclosed:
                self._send_order(gate)
        for holder in self._registrations.holders_of(modality):
            if holder.key in modality_gate.unpurged:
                self._send_order(holder, modality)

    def _send_order(self, member: Member, *only: Modality) -> None:
        """The orders of what is masked: to close it, or to purge what came before."""
        for modality in only or member.modalities:
            modality_gate = self._of[modality]
            if member.peer is None or modality_gate.requested == "live":
                continue
            if member.gate and member.key not in modality_gate.unclosed:
                continue  # nothing of it is open: a request for a lease is refused
            gate, epoch = modality_gate.requested, modality_gate.epoch
            order = (
                Close(modality=modality, gate=gate, mask_epoch=epoch, reason=modality_gate.reason or "masked")
                if member.gate
                else Purge(modality=modality, mask_epoch=epoch)
            )
            self._server.send(member.peer, order)
