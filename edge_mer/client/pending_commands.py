"""Commands on their way to the switch, for programs with a loop of their own: nothing here waits."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edge_mer.bus import ZmqBus
from edge_mer.client.signer import Signer, console_signer
from edge_mer.client.transports import BusTransport, Transport
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Answer, Command, Grant, Pair
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import EdgeMerError, PrivacyError

FOREVER_US = 1 << 62
MOST_PENDING = 256
NO_ANSWER = "the switch does not answer; without it everything closes within one lease"
CROWDED = "sent, but too many commands wait for the switch"
NO_KEYS = "this program has no keys to sign a grant with; give it one that was signed elsewhere"

Done = Callable[[Answer], object]


@dataclass
class _Pending:
    message: Command | Pair
    done: Done
    resend_due: int
    deadline_us: int


class PendingCommands:
    """Sends commands, again where the transport may lose them, and hands each answer to the ``done`` of its command.

    ``done`` is called once, within ``turn``: with the switch's answer, or with one that is not ok and says that none
    came within ``patience_us``. Call ``turn`` in every turn of the program's loop.
    """

    patience_us = 3 * SECOND

    def __init__(
        self, transport: Transport, clock: Clock, requester: str, signer: Callable[[], Signer] | None = None
    ) -> None:
        """``requester`` is what states and receipts name. ``signer`` is asked for each grant, and may raise."""
        self._transport, self._clock = transport, clock
        self._requester, self._signer = requester, signer
        self._pending: dict[str, _Pending] = {}
        self.close = transport.close

    @classmethod
    def local(cls, bus: ZmqBus, requester: str) -> PendingCommands:
        """To the switch that ``bus`` reaches, with the console's keys."""
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
    ) -> None:
        """``mask``, ``unmask``, ``resume`` or ``status``. ``for_s``: a mask that ends by itself; 0 never."""
        self.ask(
            Command(
                # Of our own also where a client brings one: the switch takes equal ids for the same command.
                id=secrets.token_hex(8),
                action=action,
                modalities=modalities,
                requester=requester or self._requester,
                grant=grant,
                hard=hard,
                for_s=for_s,
            ),
            done,
        )

    def unmask(self, modalities: tuple[Modality, ...], done: Done, *, resume: bool = False) -> None:
        """Ask what is masked, sign a grant that has seen it, and unmask. ``resume`` leaves masks that people set."""

        def sign(states: Answer) -> None:
            if not states.ok:
                done(states)
                return
            try:
                if self._signer is None:
                    raise PrivacyError(NO_KEYS)
                grant = self._signer().grant(modalities, states.modalities)
            except (EdgeMerError, OSError) as error:
                done(failed(str(error)))
            else:
                self.command("resume" if resume else "unmask", modalities, done, grant=grant)

        self.command("status", (), sign)

    def ask(self, message: Command | Pair, done: Done) -> None:
        """What the others are made of. Of too many that wait the oldest is given up."""
        while len(self._pending) >= MOST_PENDING:
            self._pending.pop(next(iter(self._pending))).done(failed(CROWDED))
        now = self._clock.now_us()
        resend_due = now + (self._transport.resend_us or FOREVER_US)
        self._pending[message.id] = _Pending(message, done, resend_due, now + self.patience_us)
        self._transport.send(message)

    def turn(self) -> None:
        """Hand on the answers that came, send again what has none, and give up what had none for too long."""
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
        """Forget all that wait; their ``done`` is never called."""
        self._pending.clear()


def failed(text: str) -> Answer:
    """An answer that is not the switch's: why there is none."""
    return Answer(id="", ok=False, text=text, modalities={})
