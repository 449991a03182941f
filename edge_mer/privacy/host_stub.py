"""The process ``switch`` in its first form: leases, masks and purges under a host key, without grants and receipts.

It starts with every consented modality live, also after a restart, and lets anyone on this host unmask what is not
masked hard. The privacy switch proper starts masked and asks for a grant: it replaces this module behind the same
messages. Leases of a former life may still run, so for one lease after a restart nothing is called closed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edge_mer.bus import Bus
from edge_mer.clock import SECOND, host_boot_id
from edge_mer.config import Config
from edge_mer.control import (
    Answer,
    Close,
    Closed,
    Command,
    Exited,
    Lease,
    LeaseRequest,
    Purge,
    Purged,
    Refused,
    Register,
)
from edge_mer.domain import MODALITIES, Modality
from edge_mer.messages import Privacy, PrivacyState
from edge_mer.privacy.channel import Channel
from edge_mer.privacy.demand import Demand
from edge_mer.privacy.epoch import MaskEpoch
from edge_mer.privacy.host_key import host_key, state_directory
from edge_mer.privacy.lease import holder_name, sign_lease

PUBLISH_US = SECOND // 2
ANSWER_US = SECOND
# A child that ended without a word stops registering; a gate is never forgotten so, for its device may be open.
FORGET_CHILD_US = 10 * SECOND
# Stands for gates that an earlier life of the switch gave leases to, and that have not spoken to this one yet.
FORMER = "a gate from before the switch restarted"
MOST_MEMBERS, MOST_COMMANDS, MOST_MESSAGES = 64, 256, 1000


@dataclass
class Member:
    """A gate or a lineage child, as it last spoke."""

    peer: bytes
    boot: str
    modalities: tuple[Modality, ...]
    heard_us: int


@dataclass
class Waiting:
    """A command whose answer waits for gates and children."""

    peer: bytes
    modalities: frozenset[Modality]
    deadline_us: int


class HostStub:
    """Binds the endpoint ``switch`` and the topic ``privacy``."""

    def __init__(self, config: Config, bus: Bus, boot_id: str | None = None) -> None:
        directory = state_directory(config.privacy.state)
        self.counters: Counter[str] = Counter()
        self.wake: tuple[int, ...] = ()
        self._clock, self._key, self._epoch = bus.clock, host_key(directory), MaskEpoch(directory)
        self._boot_id = boot_id or host_boot_id()
        self._lease_us = round(config.privacy.lease_s * SECOND)
        self._lease_counter = 0
        self._demand = Demand(config)
        self._gates: dict[tuple[str, Modality], Member] = {}
        self._children: dict[str, Member] = {}
        self._waiting: dict[str, Waiting] = {}
        self._answers: dict[str, Answer] = {}
        self._publish_due = 0
        now = self._clock.now_us()
        self._former_until = now + self._lease_us if self._epoch.value else now
        epoch = self._epoch.next()
        self._channels = {m: self._channel(m, epoch) for m in MODALITIES}
        self._publisher = bus.publisher("privacy", "switch")
        self._server = bus.server("switch")

    def turn(self) -> int:
        """Handle every message that is there, then resend, answer and publish. Returns the longest wait in us."""
        before = self._states()
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                break
            self._handle(*received)
        self.counters["bad"] = self._server.bad
        now = self._clock.now_us()
        self._forget(now)
        if now >= self._former_until:
            for channel in self._channels.values():
                channel.unclosed.discard(FORMER)
        for modality, channel in self._channels.items():
            if channel.pending and now >= channel.resend_due:
                self._order(modality, channel)
        self._answer_waiting(now)
        if now >= self._publish_due or self._states() != before:
            self._publish_due = now + PUBLISH_US
            self._publisher.send(Privacy(mask_epoch=self._epoch.value, modalities=self._states()), origin_us=now)
        due = [self._publish_due, *(w.deadline_us for w in self._waiting.values())]
        due += [c.resend_due for c in self._channels.values() if c.pending]
        return max(0, min(due) - now)

    def close(self) -> None:
        self._server.close()

    def _handle(self, peer: bytes, message: object) -> None:
        if isinstance(message, Register):
            self._register(peer, message)
        elif isinstance(message, LeaseRequest):
            if self._join(peer, message.name, message.boot, message.modality):
                self._give_leave(peer, message)
        elif isinstance(message, Closed):
            self._closed(message.modality, message.name, message)
        elif isinstance(message, Purged):
            channel = self._channels[message.modality]
            if message.mask_epoch >= channel.epoch:
                channel.unpurged.discard(message.name)
        elif isinstance(message, Exited):
            self._exited(message)
        elif isinstance(message, Command):
            self._command(peer, message)
        else:
            self.counters["unexpected"] += 1

    # -- gates and children ------------------------------------------------------------------------------------

    def _register(self, peer: bytes, message: Register) -> None:
        if message.gate:
            for modality in message.modalities:
                self._join(peer, message.name, message.boot, modality)
            return
        known = self._children.get(message.name)
        if known is None and len(self._children) >= MOST_MEMBERS:
            self.counters["crowd"] += 1
            return
        if known is not None and known.boot != message.boot:
            self._purged_by_death(message.name)
        self._children[message.name] = Member(peer, message.boot, message.modalities, self._clock.now_us())
        if known is None or known.boot != message.boot:
            for modality in message.modalities:  # it may have slept through a mask
                if self._channels[modality].requested != "live":
                    self._server.send(peer, Purge(modality=modality, mask_epoch=self._channels[modality].epoch))

    def _join(self, peer: bytes, name: str, boot: str, modality: Modality) -> bool:
        known = self._gates.get((name, modality))
        if known is None and len(self._gates) >= MOST_MEMBERS:
            self.counters["crowd"] += 1
            return False
        if known is not None and known.boot != boot:  # one process at a time holds the endpoint: the old one is gone
            self._closed(modality, name)
        self._gates[name, modality] = Member(peer, boot, (modality,), self._clock.now_us())
        return True

    def _closed(self, modality: Modality, name: str, message: Closed | None = None) -> None:
        channel = self._channels[modality]
        if message is not None:
            if message.mask_epoch < channel.epoch or not message.handle_closed:
                return
            channel.last_seq = message.last_seq
        channel.unclosed.discard(name)

    def _purged_by_death(self, name: str) -> None:
        for channel in self._channels.values():
            channel.unpurged.discard(name)

    def _exited(self, message: Exited) -> None:
        """The process is gone, and with it its handles and its memory."""
        for name, modality in list(self._gates):
            if name == message.name and self._gates[name, modality].boot == message.boot:
                del self._gates[name, modality]
                self._closed(modality, name)
        child = self._children.get(message.name)
        if child is not None and child.boot == message.boot:
            del self._children[message.name]
            self._purged_by_death(message.name)

    def _forget(self, now: int) -> None:
        for name, child in list(self._children.items()):
            if now - child.heard_us > FORGET_CHILD_US:
                del self._children[name]
                self._purged_by_death(name)

    def _give_leave(self, peer: bytes, request: LeaseRequest) -> None:
        channel = self._channels[request.modality]
        if channel.requested == "live":
            self._server.send(peer, self._lease(request.modality, holder_name(request.name, request.boot)))
        else:
            self._server.send(peer, Refused(modality=request.modality, gate=channel.requested,
                                            mask_epoch=channel.epoch, reason=channel.reason or "masked"))  # fmt: skip

    def _lease(self, modality: Modality, holder: str) -> Lease:
        now = self._clock.boottime_us()
        self._lease_counter = max(self._lease_counter + 1, now)  # grows over restarts too, within one boot
        lease = Lease(modality=modality, holder=holder, boot_id=self._boot_id, counter=self._lease_counter,
                      mask_epoch=self._channels[modality].epoch, issued_us=now,
                      expires_us=now + self._lease_us)  # fmt: skip
        return sign_lease(self._key, lease)

    def _order(self, modality: Modality, channel: Channel) -> None:
        """Tell everyone who has not confirmed, again and again, ever more slowly."""
        channel.sent(self._clock.now_us())
        for name in channel.unclosed - {FORMER}:
            self._server.send(self._gates[name, modality].peer,
                              Close(modality=modality, gate=channel.requested, mask_epoch=channel.epoch,
                                    reason=channel.reason or "masked"))  # fmt: skip
        for name in channel.unpurged:
            self._server.send(self._children[name].peer, Purge(modality=modality, mask_epoch=channel.epoch))

    # -- commands ----------------------------------------------------------------------------------------------

    def _command(self, peer: bytes, command: Command) -> None:
        if command.id in self._answers:
            self._server.send(peer, self._answers[command.id])
        elif command.id in self._waiting:
            self._waiting[command.id].peer = peer
        elif command.action == "status":
            self._answer(peer, command.id, True, "")
        elif command.action not in ("mask", "unmask"):
            self._answer(peer, command.id, False, f"unknown action {command.action!r}; known: mask, unmask, status")
        elif not command.modalities:
            self._answer(peer, command.id, False, f"{command.action} what? name some of {', '.join(MODALITIES)}")
        elif len(self._waiting) >= MOST_COMMANDS:
            self._answer(peer, command.id, False, "too many commands are waiting for their effect; try again")
        elif command.action == "unmask" and (refusal := self._demand.refusal(command.modalities)):
            self._answer(peer, command.id, False, refusal)
        else:
            self._change(peer, command)

    def _change(self, peer: bytes, command: Command) -> None:
        for modality in command.modalities:
            if command.action == "mask":
                self._demand.mask(modality, command.requester, command.hard)
            else:
                self._demand.unmask(modality)
        changed = [m for m in MODALITIES if self._demand.of(m)[0] != self._channels[m].requested]
        if changed:
            epoch = self._epoch.next()
            self._channels.update({m: self._channel(m, epoch) for m in changed})
            for modality in changed:
                self._open_or_order(modality)
        concerned = frozenset(x for m in command.modalities for x in self._demand.reached_by(m))
        if command.action == "mask":
            deadline = max(self._clock.now_us() + ANSWER_US, self._former_until)
            self._waiting[command.id] = Waiting(peer, concerned, deadline)
        else:
            still = [m for m in command.modalities if self._channels[m].requested != "live"]
            text = "; ".join(f"{m} stays masked: {self._channels[m].reason}" for m in still)
            self._answer(peer, command.id, not still, text)

    def _channel(self, modality: Modality, epoch: int) -> Channel:
        gate, reason = self._demand.of(modality)
        channel = Channel(gate, epoch, self._clock.now_us(), reason)
        if gate != "live":
            former = {FORMER} if self._clock.now_us() < self._former_until else set()
            channel.unclosed = {name for name, m in self._gates if m == modality} | former
            channel.unpurged = {name for name, child in self._children.items() if modality in child.modalities}
        return channel

    def _open_or_order(self, modality: Modality) -> None:
        channel = self._channels[modality]
        if channel.requested != "live":
            self._order(modality, channel)
            return
        for (name, gated), gate in self._gates.items():
            if gated == modality:
                self._server.send(gate.peer, self._lease(modality, holder_name(name, gate.boot)))

    def _answer_waiting(self, now: int) -> None:
        for id_, waiting in list(self._waiting.items()):
            complaints = [
                text for m in MODALITIES if m in waiting.modalities for text in self._channels[m].complaint(m)
            ]
            if not complaints or now >= waiting.deadline_us:
                del self._waiting[id_]
                self._answer(waiting.peer, id_, not complaints, "; ".join(complaints))

    def _answer(self, peer: bytes, id_: str, ok: bool, text: str) -> None:
        answer = Answer(id=id_, ok=ok, text=text, modalities=self._states())
        self._answers[id_] = answer
        while len(self._answers) > MOST_COMMANDS:
            del self._answers[next(iter(self._answers))]
        self._server.send(peer, answer)

    def _states(self) -> dict[Modality, PrivacyState]:
        return {m: channel.state for m, channel in self._channels.items()}


def build(config: Config, bus: Bus) -> HostStub:
    return HostStub(config, bus)
