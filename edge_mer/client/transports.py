"""Three transports to the privacy switch: the host's bus, root's Unix socket, and CURVE over TCP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from edge_mer.bus import Bus
from edge_mer.contract import control
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Command, Pair, Relayed
from edge_mer.contract.errors import BadMessage, PrivacyError
from edge_mer.host.readable import readable
from edge_mer.privacy.keys.identity import Identity
from edge_mer.privacy.keys.pairing import Link
from edge_mer.privacy.switch.root_socket import RootSocket


class Transport(Protocol):
    """Carries commands to a switch and answers back. Only ``wait`` blocks.

    ``resend_us``: time after which a command without an answer is resent; None for a transport without loss.
    """

    @property
    def resend_us(self) -> int | None: ...

    def send(self, message: Command | Pair | Relayed) -> None: ...

    def receive(self) -> object | None:
        """The next message, or None. Raises PrivacyError when the switch has closed the connection."""
        ...

    def wait(self, timeout_us: int) -> None: ...

    def close(self) -> None: ...


class BusTransport:
    """The host's bus. Messages sent while the switch restarts are lost, so they are resent."""

    resend_us: int | None = SECOND // 3

    def __init__(self, bus: Bus, endpoint: str = "switch") -> None:
        self._client = bus.client(endpoint)
        self.send, self.receive, self.close = self._client.send, self._client.receive, self._client.close
        self.wait = bus.wait


class RootTransport:
    """The Unix socket on which the kernel proves that root is the sender: it may undo locks."""

    resend_us: int | None = None

    def __init__(self, runtime: Path) -> None:
        """Raises PrivacyError when no switch listens there."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(str(runtime / RootSocket.NAME))
        except OSError as error:
            self._socket.close()
            raise PrivacyError(f"the switch does not answer root: {error.strerror or error}") from error
        self._awaits_answer = False
        self.close = self._socket.close

    def send(self, message: Command | Pair | Relayed) -> None:
        try:
            self._socket.send(control.encode(message))
            self._awaits_answer = True
        except OSError as error:
            raise PrivacyError(f"the switch does not answer root: {error.strerror or error}") from error

    def receive(self) -> object | None:
        try:
            data = self._socket.recv(control.MAX_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if data:
            self._awaits_answer = False
            return control.decode(data)
        if self._awaits_answer:
            raise PrivacyError("the switch closed root's socket without an answer")
        return None

    def wait(self, timeout_us: int) -> None:
        readable(self._socket.fileno(), timeout_us / SECOND)


class CurveTransport:
    """TCP with CURVE, as used by a paired phone or hub. A counter in each command prevents replays."""

    resend_us: int | None = None

    def __init__(self, identity: Identity, link: Link, clock: Clock) -> None:
        self._identity, self._clock = identity, clock
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.curve_publickey, self._socket.curve_secretkey = identity.curve
        self._socket.curve_serverkey = link.curve.encode()
        self._socket.connect(link.address)

    def send(self, message: Command | Pair | Relayed) -> None:
        if isinstance(message, Command) and not message.counter:
            message = msgspec.structs.replace(message, counter=self._identity.next_counter(self._clock.wall_us()))
        self._socket.send(control.encode(message))

    def receive(self) -> object | None:
        while self._socket.poll(0):
            try:
                return control.decode(self._socket.recv())
            except BadMessage:
                continue
        return None

    def wait(self, timeout_us: int) -> None:
        self._socket.poll(max(1, timeout_us // 1000))

    def close(self) -> None:
        self._socket.close()
        self._context.term()
