"""Masks of single persons as the switch sees them: orders to whoever makes tokens or records, and what they confirm."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from edge_mer.bus import Server
from edge_mer.contract.clock import Clock
from edge_mer.contract.control import MaskPersons, PersonsMasked, Register
from edge_mer.contract.domain import Gate
from edge_mer.contract.messages import Receipt
from edge_mer.contract.people import MaskedPeople
from edge_mer.privacy.switch.modality_gate import COMPLAIN_US, ModalityGate
from edge_mer.privacy.switch.people_mask import EVERYBODY, PeopleAsked
from edge_mer.privacy.switch.registrations import Key, Member, Registrations

# No count of masks gets there; a greater epoch on the wire is an error.
MOST_EPOCHS: Final = 1 << 53
FOLLOWER: Final = "perception.video"
LIMITS: Final = (
    "the camera stays open: this proves nothing of its pictures, of tokens from before, "
    "or of who was meant by the number"
)


class PeopleGate:
    """``asked``: who is to be masked. ``gate``: which processes have not confirmed it, and the receipt.

    ``boot``: the life of the process that follows faces, None while there is none. ``is_doubted``: numbers mean nothing
    any more, because it numbers persons anew, or a process knows a later order than this life of the switch.
    """

    def __init__(self, server: Server, clock: Clock, registrations: Registrations) -> None:
        self.asked = PeopleAsked()
        self.gate = ModalityGate("live", 0, 0, None, "", 0)
        self.boot: str | None = None
        self.is_doubted = False
        self._in_view: frozenset[str] = frozenset()
        self._server, self._clock, self._registrations = server, clock, registrations

    def change(self, asked: PeopleAsked, requester: str, requested_us: int) -> None:
        """From now on this is asked; the orders go out at once."""
        gate: Gate = "masked" if asked.holds else "live"
        self.asked, self.is_doubted = asked, False
        self.gate = ModalityGate(
            gate, asked.mask_epoch, self._clock.now_us(), asked.by or None, requester, requested_us
        )
        self.gate.unpurged = {m.key for m in self._members()}
        self.send()

    def send(self) -> None:
        """Send the order to every process that has not confirmed it, at growing intervals."""
        self.gate.sent(self._clock.now_us())
        for member in self._members():
            if member.key in self.gate.unpurged:
                self._send(member)

    def registered(self, message: Register) -> None:
        if not message.persons:
            return
        if message.name == FOLLOWER:
            self.boot = message.boot
        epoch = self.asked.mask_epoch
        is_later = epoch < message.person_epoch <= MOST_EPOCHS
        self.is_doubted |= is_later or (message.renumbered and message.person_epoch == epoch)

    def welcome(self, member: Member) -> None:
        """A process that is new to this life of the switch: it may know no order."""
        if member.persons:
            self.gate.unpurged.add(member.key)
            self._send(member)

    def confirm(self, message: PersonsMasked) -> None:
        if message.mask_epoch >= self.gate.epoch:
            self.gate.purge((message.name, message.boot), self._clock.now_us())
            if message.in_view is not None and message.boot == self.boot:
                self._in_view = frozenset(message.in_view)

    def ended(self, key: Key, how: str) -> None:
        self.gate.purge(key, self._clock.now_us(), how)
        if key == (FOLLOWER, self.boot):
            self.boot = None

    def state(self, why: Callable[[Key], str]) -> MaskedPeople | None:
        """None as long as nobody was ever masked alone."""
        asked, since = self.asked, self.gate.since_us
        if not asked.mask_epoch:
            return None
        late = since <= self._clock.now_us() - COMPLAIN_US
        unconfirmed = tuple(self.complaints((), why)) if asked.holds and late else ()
        return MaskedPeople(
            asked.persons, asked.everybody, asked.boot, since, asked.mask_epoch, asked.by or None, unconfirmed
        )

    def complaints(self, persons: Collection[str], why: Callable[[Key], str]) -> list[str]:
        """Which process has not confirmed, and whom of ``persons`` nobody sees; empty when the mask took effect."""
        found = [f"{key[0]} did not confirm the mask of persons{why(key)}" for key in sorted(self.gate.unpurged)]
        if not found and self.gate.is_unproven:
            found = [f"persons are masked, but the receipt is not written: {self.gate.unwritten or 'not yet'}"]
        if not found and not self.asked.everybody:
            unseen = [p for p in persons if p != EVERYBODY and p not in self._in_view]
            found += [f"{p} is not in view, so nobody was masked now; the number stays masked" for p in unseen]
        return found

    def draft_receipt(self, camera: Gate, now_us: int, wall_us: int, boot_id: str, room: str, unsaved: str) -> Receipt:
        draft = self.gate.draft_receipt("video", now_us, wall_us, boot_id, room, unsaved)
        checks = [_confirmed(name) for name in draft.purged] or ["no process follows faces or records"]
        return msgspec.structs.replace(
            draft,
            gate=camera,
            closed_us=draft.purged_us,
            handle_closed=False,
            checks=(*checks, LIMITS, *(c for c in draft.checks if c.startswith("not durable"))),
            persons=self.asked.named,
        )

    def _members(self) -> list[Member]:
        return self._registrations.of_persons()

    def _send(self, member: Member) -> None:
        asked = self.asked
        if member.peer is not None:
            order = MaskPersons(
                mask_epoch=asked.mask_epoch, boot=asked.boot, persons=asked.persons, everybody=asked.everybody
            )
            self._server.send(member.peer, order)


def _confirmed(name: str) -> str:
    does = "makes no token of them from then on" if name.startswith(FOLLOWER) else "records no picture from then on"
    return f"{name}: {does}"
