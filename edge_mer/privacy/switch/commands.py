"""Commands of users and hubs: limits per sender, permission, and an answer once a command took effect or did not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command, Grant
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.grant import Circumstances, check_grant, check_leave
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.switch.mask_policy import MaskPolicy
from edge_mer.privacy.switch.requester import Reply, Requester
from edge_mer.privacy.switch.state import Holding
from edge_mer.privacy.switch.used_counters import UsedCounters

ANSWER_US = SECOND
MOST_COMMANDS = 256
# Masks are never refused for their number; everything else costs a signature or a look.
RATE_HZ, BURST = 50, 100
LONGEST_S = 30 * 24 * 3600

ACTIONS = ("mask", "unmask", "resume", "status")

Ticket = tuple[str, str]


@dataclass
class Waiting:
    """A mask whose answer waits for gates, data holders and receipts."""

    reply: Reply
    modalities: frozenset[Modality]
    deadline_us: int


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

    def mask(self, modalities: Iterable[Modality], gate: Gate, by: str, for_s: int = 0) -> None: ...

    def unmask(self, modalities: tuple[Modality, ...], holding: Holding, lifts_hard: bool) -> str: ...

    def epochs(self) -> dict[Modality, int]: ...

    def complaints(self, modalities: frozenset[Modality]) -> list[str]: ...

    def late_complaints(self) -> tuple[str, ...]: ...

    def receipts(self, modalities: frozenset[Modality]) -> tuple[int, ...]: ...

    def answer(self, id_: str, ok: bool, text: str, receipts: tuple[int, ...] = ()) -> Answer: ...


class Commands:
    """A command with an id that was seen before is not done again: it gets the same answer."""

    def __init__(self, switch: Authority) -> None:
        self._switch = switch
        self._waiting: dict[Ticket, Waiting] = {}
        self._answers: dict[Ticket, Answer] = {}
        self._budgets: defaultdict[str, Budget] = defaultdict(lambda: Budget(RATE_HZ, BURST))

    def receive(self, reply: Reply, requester: Requester, command: Command) -> None:
        ticket = (requester.key, command.id)
        if ticket in self._answers:
            reply(self._answers[ticket])
        elif ticket in self._waiting:
            self._waiting[ticket].reply = reply
        elif refusal := self._refusal(requester, command):
            self._answer(ticket, reply, False, refusal)
        elif command.action == "status":
            reply(self._switch.answer(command.id, True, "; ".join(self._switch.late_complaints())))
        elif command.action == "mask":
            self._mask(ticket, reply, requester, command)
        else:
            self._unmask(ticket, reply, requester, command)

    def turn(self, now_us: int) -> None:
        for ticket, waiting in list(self._waiting.items()):
            complaints = self._switch.complaints(waiting.modalities)
            if not complaints or now_us >= waiting.deadline_us:
                del self._waiting[ticket]
                receipts = self._switch.receipts(waiting.modalities)
                self._answer(ticket, waiting.reply, not complaints, "; ".join(complaints), receipts)

    @property
    def due_us(self) -> list[int]:
        return [w.deadline_us for w in self._waiting.values()]

    def _refusal(self, requester: Requester, command: Command) -> str:
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
        if command.action != "mask" and not self._budgets[requester.key].take(1, self._switch.now_us):
            return f"too many commands: at most {RATE_HZ} a second; masks are always taken"
        if command.action != "status" and not command.modalities:
            return f"{command.action} what? name some of {', '.join(MODALITIES)}"
        if command.for_s and (command.action != "mask" or command.hard or not 0 < command.for_s <= LONGEST_S):
            return f"only a mask that is not hard can end by itself, after 1 s to {LONGEST_S // 86400} days"
        return ""

    def _mask(self, ticket: Ticket, reply: Reply, requester: Requester, command: Command) -> None:
        gate: Gate = "hard" if command.hard else "masked"
        self._switch.mask(command.modalities, gate, requester.called(command.requester), command.for_s)
        concerned = frozenset(x for m in command.modalities for x in self._switch.policy.reached_by(m))
        if len(self._waiting) >= MOST_COMMANDS:
            self._answer(ticket, reply, False, "masked, but too many commands wait for proof; see edge-mer status")
            return
        deadline = max(self._switch.now_us + ANSWER_US, self._switch.former_until_us)
        self._waiting[ticket] = Waiting(reply, concerned, deadline)

    def _unmask(self, ticket: Ticket, reply: Reply, requester: Requester, command: Command) -> None:
        try:
            holding = self._holding(requester, command)
        except PrivacyError as error:
            self._answer(ticket, reply, False, str(error))
            return
        modalities = command.modalities
        if command.action == "resume":
            modalities = tuple(m for m in modalities if self._switch.policy.asked[m].mask is None)
        refusal = self._switch.unmask(modalities, holding, lifts_hard=requester.origin == "root")
        self._answer(ticket, reply, not refusal, refusal)

    def _holding(self, requester: Requester, command: Command) -> Holding:
        """Whose permission this is. Raises PrivacyError without one."""
        if requester.origin == "root":
            return Holding(requester.name, "")
        switch = self._switch
        switch.used.check()
        now = Circumstances(switch.host, switch.epochs(), switch.used.used)
        paired = check_grant(command.grant, command.modalities, switch.keyring, now)
        assert command.grant is not None
        # Before what may still refuse it: a refused grant must not work after consent or permissions change.
        switch.use(command.grant)
        if switch.policy.deployment is None:
            raise PrivacyError(switch.policy.no_consent)
        check_leave(paired, command.modalities, switch.policy.deployment)
        return Holding(paired.name, command.grant.key)

    def _answer(self, ticket: Ticket, reply: Reply, ok: bool, text: str, receipts: tuple[int, ...] = ()) -> None:
        answer = self._switch.answer(ticket[1], ok, text, receipts)
        self._answers[ticket] = answer
        while len(self._answers) > MOST_COMMANDS:
            del self._answers[next(iter(self._answers))]
        reply(answer)
