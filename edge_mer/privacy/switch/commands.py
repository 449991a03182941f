"""Commands of users and hubs: limits per sender, permission, and an answer once a command took effect or did not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command, Grant, Holds
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.grant import Circumstances, check_grant, check_leave
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.switch.mask_policy import MaskPolicy
from edge_mer.privacy.switch.people_mask import fault_of
from edge_mer.privacy.switch.requester import Reply, Requester
from edge_mer.privacy.switch.state import Holding
from edge_mer.privacy.switch.used_counters import UsedCounters

ANSWER_US = SECOND
# Of one sender: masks that wait for proof, and answers kept for a repeated command.
MOST_WAITING, MOST_ANSWERS = 64, 64
MOST_SENDERS = 256
# Masks are never refused for their number; everything else costs a signature or a look.
RATE_HZ, BURST = 50, 100
# How often one sender may prolong timed masks that hold already: each costs a write to the disk.
PROLONG_HZ, PROLONG_BURST = 1, 20
LONGEST_S = 30 * 24 * 3600
LONGEST_CHALLENGE = 64

ACTIONS = ("mask", "unmask", "resume", "status")


@dataclass
class Waiting:
    """A mask whose answer waits for gates, data holders and receipts."""

    reply: Reply
    modalities: frozenset[Modality]
    deadline_us: int
    challenge: str = ""
    persons: tuple[str, ...] = ()


@dataclass
class Sender:
    """One sender: how much it may still ask, its masks that wait, and its last answers, by the id of the command."""

    commands: Budget = field(default_factory=lambda: Budget(RATE_HZ, BURST))
    prolongs: Budget = field(default_factory=lambda: Budget(PROLONG_HZ, PROLONG_BURST))
    waiting: dict[str, Waiting] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)


class Authority(Protocol):
    """What commands see of the switch: its policy and keys, its two actions, and how far a mask is proven.

    ``used``: the counters of grants and of remote commands. ``host``: this host's public key, hex.
    """

    used: UsedCounters
    host: str
    now_us: int
    policy: MaskPolicy
    keyring: Keyring

    @property
    def former_until_us(self) -> int: ...

    def use(self, grant: Grant) -> None: ...

    def mask(
        self, modalities: Iterable[Modality], gate: Gate, by: str, for_s: int = 0, prolong: bool = True
    ) -> list[Modality]: ...

    def unmask(self, modalities: tuple[Modality, ...], holding: Holding, lifts_hard: bool) -> str: ...

    def mask_people(self, persons: tuple[str, ...], by: str) -> None: ...

    def unmask_people(self, persons: tuple[str, ...], by: str, lifts_local: bool) -> str: ...

    def people_epoch(self) -> int: ...

    def people_complaints(self, persons: tuple[str, ...]) -> list[str]: ...

    def people_receipts(self) -> tuple[Receipt, ...]: ...

    def epochs(self) -> dict[Modality, int]: ...

    def complaints(self, modalities: frozenset[Modality]) -> list[str]: ...

    def late_complaints(self) -> tuple[str, ...]: ...

    def receipts(self, modalities: frozenset[Modality]) -> tuple[Receipt, ...]: ...

    def holds(self, challenge: str, proofs: tuple[Receipt, ...]) -> Holds: ...

    def answer(self, id_: str, ok: bool, text: str) -> Answer: ...


class Commands:
    """A command with an id that its sender used before is not done again: it gets the same answer.

    Every sender has its own limits, so a flood of one delays and refuses no other.
    """

    def __init__(self, switch: Authority) -> None:
        self._switch = switch
        self._senders: dict[tuple[str, str], Sender] = {}

    def receive(self, reply: Reply, requester: Requester, command: Command) -> None:
        sender = self._sender(requester, command)
        if command.id in sender.answers:
            reply(sender.answers[command.id])
        elif command.id in sender.waiting:
            sender.waiting[command.id].reply = reply
        elif refusal := self._refusal(sender, requester, command):
            self._answer(sender, command.id, reply, False, refusal)
        elif command.action == "status":
            reply(self._switch.answer(command.id, True, "; ".join(self._switch.late_complaints())))
        elif command.action == "mask":
            self._mask(sender, reply, requester, command)
        else:
            self._unmask(sender, reply, requester, command)

    def turn(self, now_us: int) -> None:
        waiting = [(s, id_, w) for s in self._senders.values() for id_, w in s.waiting.items()]
        complaints = {m: self._switch.complaints(m) for m in {w.modalities for _, _, w in waiting}}
        for sender, id_, mask in waiting:
            missing = complaints[mask.modalities]
            if mask.persons:
                missing = self._switch.people_complaints(mask.persons)
            if not missing or now_us >= mask.deadline_us:
                del sender.waiting[id_]
                proofs = self._switch.people_receipts() if mask.persons else self._switch.receipts(mask.modalities)
                challenge = mask.challenge if not missing else ""
                self._answer(sender, id_, mask.reply, not missing, "; ".join(missing), proofs, challenge)

    @property
    def due_us(self) -> list[int]:
        return [w.deadline_us for s in self._senders.values() for w in s.waiting.values()]

    def _sender(self, requester: Requester, command: Command) -> Sender:
        """The sender's record, now the newest; the oldest without a waiting mask are dropped."""
        who = requester.key, requester.called(command.requester)
        self._senders[who] = sender = self._senders.pop(who, None) or Sender()
        if len(self._senders) > MOST_SENDERS:
            idle = next((w for w, s in self._senders.items() if not s.waiting and w != who), None)
            if idle is not None:
                del self._senders[idle]
        return sender

    def _refusal(self, sender: Sender, requester: Requester, command: Command) -> str:
        """Why a command is refused before it is examined; empty when it is not."""
        if requester.origin == "remote":
            last = self._switch.used.used.get(requester.key, -1)
            if command.counter <= last:
                return (
                    f"command {command.counter} of {requester.name} was sent before, or came out of order: last {last}"
                )
            self._switch.used.use(requester.key, command.counter)
        if command.action not in ACTIONS:
            return f"unknown action {command.action!r}; known: {', '.join(ACTIONS)}"
        if command.action != "mask" and not sender.commands.take(1, self._switch.now_us):
            return f"too many commands: at most {RATE_HZ} a second; masks are always taken"
        if command.persons:
            return _refused_persons(command)
        if command.action != "status" and not command.modalities:
            return f"{command.action} what? name some of {', '.join(MODALITIES)}"
        if len(command.challenge) > LONGEST_CHALLENGE:
            return f"a challenge has at most {LONGEST_CHALLENGE} characters"
        if command.for_s and (command.action != "mask" or command.hard or not 0 < command.for_s <= LONGEST_S):
            return f"only a mask that is not hard can end by itself, after 1 s to {LONGEST_S // 86400} days"
        return ""

    def _mask(self, sender: Sender, reply: Reply, requester: Requester, command: Command) -> None:
        gate: Gate = "hard" if command.hard else "masked"
        by = requester.called(command.requester)
        if command.persons:
            self._switch.mask_people(command.persons, by)
        prolong = not command.for_s or sender.prolongs.take(1, self._switch.now_us) == 1
        if kept := self._switch.mask(command.modalities, gate, by, command.for_s, prolong):
            text = f"{', '.join(kept)} is masked, but not for longer: at most {PROLONG_HZ} timed mask a second"
            self._answer(sender, command.id, reply, False, text)
            return
        if len(sender.waiting) >= MOST_WAITING:
            text = "masked, but too many commands wait for proof; see edge-mer status"
            self._answer(sender, command.id, reply, False, text)
            return
        concerned = frozenset(x for m in command.modalities for x in self._switch.policy.reached_by(m))
        deadline = max(self._switch.now_us + ANSWER_US, self._switch.former_until_us)
        sender.waiting[command.id] = Waiting(reply, concerned, deadline, command.challenge, command.persons)

    def _unmask(self, sender: Sender, reply: Reply, requester: Requester, command: Command) -> None:
        try:
            holding = self._holding(requester, command)
        except PrivacyError as error:
            self._answer(sender, command.id, reply, False, str(error))
            return
        if command.persons:
            refusal = self._switch.unmask_people(command.persons, holding.by, requester.origin == "root")
            self._answer(sender, command.id, reply, not refusal, refusal)
            return
        modalities = command.modalities
        if command.action == "resume":
            modalities = tuple(m for m in modalities if self._switch.policy.asked[m].mask is None)
        refusal = self._switch.unmask(modalities, holding, lifts_hard=requester.origin == "root")
        self._answer(sender, command.id, reply, not refusal, refusal)

    def _holding(self, requester: Requester, command: Command) -> Holding:
        """Whose permission this is. Raises PrivacyError without one."""
        if requester.origin == "root":
            return Holding(requester.name, "")
        switch = self._switch
        switch.used.check()
        now = Circumstances(switch.host, switch.epochs(), switch.used.used, switch.people_epoch())
        paired = check_grant(command.grant, command.modalities, switch.keyring, now, command.persons)
        assert command.grant is not None
        # Before what may still refuse it: a refused grant must not work after consent or permissions change.
        switch.use(command.grant)
        if switch.policy.deployment is None:
            raise PrivacyError(switch.policy.no_consent)
        # To see a person again needs what it needs to open the camera.
        check_leave(paired, ("video",) if command.persons else command.modalities, switch.policy.deployment)
        return Holding(paired.name, command.grant.key)

    def _answer(
        self,
        sender: Sender,
        id_: str,
        reply: Reply,
        ok: bool,
        text: str,
        proofs: tuple[Receipt, ...] = (),
        challenge: str = "",
    ) -> None:
        answer = self._switch.answer(id_, ok, text)
        if proofs:
            answer = msgspec.structs.replace(answer, receipts=tuple(sorted(r.number for r in proofs)))
        if challenge:
            answer = msgspec.structs.replace(answer, proofs=proofs, holds=self._switch.holds(challenge, proofs))
        sender.answers[id_] = answer
        while len(sender.answers) > MOST_ANSWERS:
            del sender.answers[next(iter(sender.answers))]
        reply(answer)


def _refused_persons(command: Command) -> str:
    """Why a command about persons is refused before it is examined; empty when it is not."""
    if command.modalities:
        return "a command is about modalities or about persons, not both"
    if command.action not in ("mask", "unmask"):
        return f"{command.action} is not for persons: mask and unmask are"
    if command.hard or command.for_s or command.challenge:
        return "a mask of persons cannot be locked, has no end and takes no challenge"
    return fault_of(command.persons)
