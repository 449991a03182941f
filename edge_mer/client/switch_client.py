"""Blocking client of an instance's privacy switch."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edge_mer.bus import ZmqBus
from edge_mer.client.instance import find_instance
from edge_mer.client.pending_commands import FOREVER_US, Done, PendingCommands
from edge_mer.client.signer import Signer, console_signer
from edge_mer.client.transports import BusTransport, CurveTransport, RootTransport, Transport
from edge_mer.config import load
from edge_mer.contract.clock import SECOND, Clock, SystemClock
from edge_mer.contract.control import Answer, Command, Pair
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import UNPROVEN, EdgeMerError, PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.host.files import shown_state_directory, state_directory
from edge_mer.privacy.keys.host_key import PUBLIC, read_public
from edge_mer.privacy.keys.identity import Identity, read_identity
from edge_mer.privacy.keys.pairing import Link, proof
from edge_mer.privacy.switch.receipts import receipt_files, verify_all
from edge_mer.privacy.switch.state import LOCAL_CURE

LOCAL_PATIENCE_US, REMOTE_PATIENCE_US = 4 * SECOND, 5 * SECOND
COMMAND_LINE = "the command line"


class NoAnswer(EdgeMerError):
    """The switch did not answer in time; whether the command took effect is unknown."""

    exit_code = UNPROVEN


class SwitchClient:
    """Masks, unmasks and queries, and waits for the result::

        with SwitchClient.local() as switch:
            answer = switch.mask("audio")
            print(answer.ok, answer.text, answer.receipts)

    An answer is ``ok`` only when the command took effect; otherwise ``text`` is the reason. All methods raise NoAnswer
    when the switch does not answer in time.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        requester: str,
        silence: str,
        patience_us: int,
        signer: Callable[[], Signer] | None = None,
        runtime: Path | None = None,
    ) -> None:
        """Use ``local``, ``on_bus``, ``root``, ``paired`` or ``remote``. ``silence``: the message of NoAnswer."""
        self._transport, self._clock = transport, clock
        self._commands = PendingCommands(transport, clock, requester, signer)
        self._commands.patience_us = FOREVER_US  # the deadline of ``_wait`` applies instead
        self._silence, self._patience_us = silence, patience_us
        self._signs, self._runtime = signer is not None, runtime
        self._close = transport.close

    @classmethod
    def local(
        cls, directory: Path | None = None, config: Path | None = None, requester: str = COMMAND_LINE
    ) -> SwitchClient:
        """The instance that runs on this host, in the runtime ``directory`` or that of the configuration file.

        It signs with the console's keys. Raises NotRunning when no instance runs.
        """
        bus = ZmqBus(find_instance(directory, config))
        client = cls.on_bus(bus, requester)
        client._close = bus.close
        return client

    @classmethod
    def on_bus(cls, bus: ZmqBus, requester: str = COMMAND_LINE) -> SwitchClient:
        """The instance of ``bus``. It signs with the console's keys; closing the client leaves the bus open."""
        silence = (
            f"the privacy switch did not answer within {LOCAL_PATIENCE_US // SECOND} s, so NOTHING is known to be "
            "masked; run: edge-mer status"
        )
        transport = BusTransport(bus)
        return cls(
            transport,
            bus.clock,
            requester,
            silence,
            LOCAL_PATIENCE_US,
            lambda: console_signer(bus.directory, bus.clock),
            bus.directory,
        )

    @classmethod
    def root(cls, runtime: Path) -> SwitchClient:
        """As root on this host: needs no grant and can undo locks. Raises PrivacyError without a switch."""
        silence = "the switch does not answer root; run: edge-mer status"
        return cls(RootTransport(runtime), SystemClock(), "root", silence, REMOTE_PATIENCE_US)

    @classmethod
    def paired(cls, name: str, config: Path | None = None) -> SwitchClient:
        """A remote host, with the keys ``name`` that are paired with it. Raises PrivacyError when there are none."""
        identity = read_identity(state_directory(load(config)[0].privacy.state), name)
        if identity is None or not identity.content.address:
            raise PrivacyError(
                f"no keys named {name!r} are paired with a remote host; run: edge-mer keys pair {name} LINK"
            )
        content = identity.content
        return cls.remote(identity, Link(content.address, content.host, content.host_curve, ""))

    @classmethod
    def remote(cls, identity: Identity, link: Link) -> SwitchClient:
        """A remote host, over TCP with CURVE. ``link`` holds its address and public keys."""
        clock = SystemClock()
        silence = f"the switch at {link.address} does not answer: is it running, and are these keys paired with it?"
        return cls(
            CurveTransport(identity, link, clock),
            clock,
            identity.name,
            silence,
            REMOTE_PATIENCE_US,
            lambda: Signer(identity, link.host, clock),
        )

    @classmethod
    def pair(cls, identity: Identity, link: Link, name: str) -> Answer:
        """Send public keys to a host with its one-time ``link``: from then on they may sign grants."""
        signing, curve = identity.signing, identity.content.curve_public
        proof_hex = proof(link.code, link.curve, name, signing, curve)
        with cls.remote(identity, link) as client:
            return client.ask(Pair(id=secrets.token_hex(8), name=name, signing=signing, curve=curve, proof=proof_hex))

    def mask(self, *modalities: Modality, hard: bool = False, for_s: int = 0) -> Answer:
        """Close sensors and purge data derived from them; the answer names the receipts.

        ``hard``: lock; only the button or root on that host can unmask. ``for_s``: seconds until it ends; 0 = never.
        """
        return self._wait(lambda done: self._commands.command("mask", modalities, done, hard=hard, for_s=for_s))

    def mask_persons(self, *persons: str) -> Answer:
        """No token of these persons in view ("p2", or "all") is made from now on; the camera stays open."""
        return self._wait(lambda done: self._commands.command("mask", (), done, persons=persons))

    def unmask_persons(self, *persons: str) -> Answer:
        """Let these persons be seen again, with a grant signed by this program's keys."""
        if not self._signs:
            return self._wait(lambda done: self._commands.command("unmask", (), done, persons=persons))
        runtime = self._runtime if os.geteuid() == 0 else None
        if runtime is not None and runtime.stat().st_uid != 0:
            with SwitchClient.root(runtime) as root:
                return root.unmask_persons(*persons)
        answer = self._wait(lambda done: self._commands.unmask((), done, persons=persons))
        if runtime is not None and not answer.ok and LOCAL_CURE in answer.text:
            with SwitchClient.root(runtime) as root:
                return root.unmask_persons(*persons)
        return answer

    def unmask(self, *modalities: Modality) -> Answer:
        """Allow sensors to open, with a grant signed by this program's keys. As root it also undoes locks."""
        if not self._signs:
            return self._wait(lambda done: self._commands.command("unmask", modalities, done))
        runtime = self._runtime if os.geteuid() == 0 else None
        if runtime is not None:
            if runtime.stat().st_uid != 0:  # with the keys of another user, root would leave files that lock them out
                return self._unmask_as_root(runtime, modalities)
            states = [state for m, state in self.status().modalities.items() if m in modalities]
            if any(s.requested == "hard" or LOCAL_CURE in (s.reason or "") for s in states):
                return self._unmask_as_root(runtime, modalities)
        answer = self._wait(lambda done: self._commands.unmask(modalities, done))
        if runtime is not None and not answer.ok and LOCAL_CURE in answer.text:
            return self._unmask_as_root(runtime, modalities)
        return answer

    def _unmask_as_root(self, runtime: Path, modalities: tuple[Modality, ...]) -> Answer:
        with SwitchClient.root(runtime) as root:
            return root.unmask(*modalities)

    def status(self) -> Answer:
        """The state of the masks, in ``modalities`` of the answer."""
        return self._wait(lambda done: self._commands.command("status", (), done))

    def receipts(self) -> tuple[Receipt, ...]:
        """All receipts of this host, oldest first, verified. Raises PrivacyError when one is not genuine, and for a
        remote host, whose receipts are not transferred."""
        state = shown_state_directory(self._runtime) if self._runtime is not None else None
        if state is None:
            raise PrivacyError("receipts are read on the host itself, while its switch runs: edge-mer receipts show")
        return tuple(verify_all(state, read_public(state / PUBLIC))) if receipt_files(state) else ()

    def ask(self, message: Command | Pair) -> Answer:
        """Send one control message and wait for its answer; the other methods use this."""
        return self._wait(lambda done: self._commands.ask(message, done))

    def close(self) -> None:
        self._close()

    def __enter__(self) -> SwitchClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wait(self, start: Callable[[Done], None]) -> Answer:
        answers: list[Answer] = []
        deadline = self._clock.now_us() + self._patience_us
        start(answers.append)
        while not answers:
            if (left := deadline - self._clock.now_us()) <= 0:
                self._commands.abandon()
                raise NoAnswer(self._silence)
            self._transport.wait(min(left, self._transport.resend_us or left))
            self._commands.turn()
        return answers[0]
