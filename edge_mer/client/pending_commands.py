"""Commands to the switch for programs with their own loop: no call blocks."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edge_mer.bus import ZmqBus
from edge_mer.client.signer import Signer, console_signer
from edge_mer.client.transports import BusTransport, Transport
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Answer, Command, Grant, Pair, Relayed
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import EdgeMerError, PrivacyError

FOREVER_US = 1 << 62
MOST_PENDING = 1024
NO_ANSWER = "the switch does not answer; every device closes within one lease"
TOO_MANY = "sent, but too many commands wait for the switch; result unknown"
NO_KEYS = "this program has no key to sign a grant; pass a grant that was signed elsewhere"

Done = Callable[[Answer], object]


@dataclass
class _Pending:
    message: Command | Pair | Relayed
    done: Done
    resend_due: int
    deadline_us: int


class PendingCommands:
    """Sends commands, resends them where the transport may lose them, and passes each answer to its ``done``.

    ``done`` is called once, within ``turn``: with the switch's answer, or with an answer that is not ok when none
    arrived within ``patience_us``. Call ``turn`` in every iteration of the program's loop.
    """

    patience_us = 3 * SECOND

    def __init__(
        self, transport: Transport, clock: Clock, requester: str, signer: Callable[[], Signer] | None = None
    ) -> None:
        """``requester`` is named in states and receipts. ``signer`` is called for each grant, and may raise."""
        self._transport, self._clock = transport, clock
        self._requester, self._signer = requester, signer
        self._pending: dict[str, _Pending] = {}
        self.close = transport.close

    @classmethod
    def local(cls, bus: ZmqBus, requester: str) -> PendingCommands:
        """Commands to the switch of ``bus``, signed with the console's keys."""
        return cls(BusTransport(bus), bus.clock, requester, lambda: console_signer(bus.directory, bus.clock))

    def command(
        self,
        action: str,
        modalities: tuple[Modality, ...],
        done: Done,
        *,
        requester: str = "",
        grant: Grant | None = None,
        hard: bool = False,
        for_s: int = 0,
        persons: tuple[str, ...] = (),
    ) -> None:
        """``mask``, ``unmask``, ``resume`` or ``status``. ``for_s``: seconds until a mask ends by itself; 0 = never.
        ``persons``, in place of modalities: persons in view, or "all"."""
        self.ask(
            Command(
                # A new id even when a client sent one: the switch treats equal ids as the same command.
                id=secrets.token_hex(8),
                action=action,
                modalities=modalities,
                requester=requester or self._requester,
                grant=grant,
                hard=hard,
                for_s=for_s,
                persons=persons,
            ),
            done,
        )

    def unmask(
        self, modalities: tuple[Modality, ...], done: Done, *, resume: bool = False, persons: tuple[str, ...] = ()
    ) -> None:
        """Query the masks, sign a grant for that state, and unmask. ``resume`` keeps masks that users set."""

        def sign(states: Answer) -> None:
            if not states.ok:
                done(states)
                return
            try:
                if self._signer is None:
                    raise PrivacyError(NO_KEYS)
                signer = self._signer()
                grant = (
                    signer.grant_persons(persons, states.people)
                    if persons
                    else signer.grant(modalities, states.modalities)
                )
            except (EdgeMerError, OSError) as error:
                done(failed(str(error)))
            else:
                self.command("resume" if resume else "unmask", modalities, done, grant=grant, persons=persons)

        self.command("status", (), sign)

    def ask(self, message: Command | Pair | Relayed, done: Done) -> None:
        """Send one message; the other methods use this. When too many are pending, the oldest fails."""
        while len(self._pending) >= MOST_PENDING:
            self._pending.pop(next(iter(self._pending))).done(failed(TOO_MANY))
        now = self._clock.now_us()
        resend_due = now + (self._transport.resend_us or FOREVER_US)
        self._pending[message.id] = _Pending(message, done, resend_due, now + self.patience_us)
        self._transport.send(message)

    def turn(self) -> None:
        """Deliver answers, resend commands without one, and fail those that exceeded their patience."""
        while (message := self._transport.receive()) is not None:
            if isinstance(message, Answer) and (pending := self._pending.pop(message.id, None)) is not None:
                pending.done(message)
        now = self._clock.now_us()
        for id_, pending in list(self._pending.items()):
            if now >= pending.deadline_us:
                del self._pending[id_]
                pending.done(failed(NO_ANSWER))
            elif now >= pending.resend_due:
                pending.resend_due = now + (self._transport.resend_us or FOREVER_US)
                self._transport.send(pending.message)

    def abandon(self) -> None:
        """Drop all pending commands without calling their ``done``."""
        self._pending.clear()


def failed(text: str) -> Answer:
    """A local answer that is not ok; ``text`` is the reason."""
    return Answer(id="", ok=False, text=text, modalities={})
