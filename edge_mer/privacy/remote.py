"""The control plane over TCP: the switch's side, and the client of a phone or hub. Off unless ``remote.listen`` is set.

Only commands and pairing come through here; what gates, children and the supervisor say never leaves the host.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import zmq

from edge_mer import control
from edge_mer.bus import ZmqBus
from edge_mer.bus.secure import SecureServer
from edge_mer.clock import Clock, host_boot_id
from edge_mer.config import Config
from edge_mer.control import Answer, AnyControl, Command, Pair
from edge_mer.errors import BadMessage, PrivacyError
from edge_mer.privacy.caller import Caller, Reply
from edge_mer.privacy.host_key import state_directory
from edge_mer.privacy.identity import Identity
from edge_mer.privacy.keyring import Keyring
from edge_mer.privacy.pairing import Link, Pairing, proof, server_curve

# So that a flood from outside never holds up what happens inside.
MOST_MESSAGES = 50
PATIENCE_MS = 5000


class RemoteDoor:
    """Yields commands of paired keys; completes pairings itself. ``counters``: what was ``refused`` or ``bad``."""

    def __init__(self, server: SecureServer, keyring: Keyring, pairing: Pairing) -> None:
        self._server, self._keyring, self._pairing = server, keyring, pairing
        self.close = server.close

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def wake(self) -> tuple[int, ...]:
        return ()  # its sockets are on the bus

    @property
    def counters(self) -> Counter[str]:
        return Counter({f"remote.{name}": n for name, n in self._server.counters.items()})

    def receive(self) -> Iterator[tuple[Reply, Caller, Command]]:
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                return
            peer, curve, message = received
            key = self._keyring.sender(curve)  # asked for every message: a revoked key is out at once
            if isinstance(message, Pair):
                self._pair(peer, curve, message)
            elif isinstance(message, Command) and key is not None:
                yield self._reply_to(peer), Caller("remote", curve, key.name), message
            else:
                self._server.counters["unexpected"] += 1

    def _reply_to(self, peer: bytes) -> Reply:
        return lambda answer: self._server.send(peer, answer)

    def _pair(self, peer: bytes, curve: str, message: Pair) -> None:
        try:
            key = self._pairing.complete(message, curve)
            answer = Answer(id=message.id, ok=True, text=f"paired as {key.name} ({key.role})", modalities={})
        except (PrivacyError, OSError) as error:
            answer = Answer(id=message.id, ok=False, text=str(error), modalities={})
        self._server.send(peer, answer)


def open_remote(config: Config, bus: ZmqBus) -> RemoteDoor | None:
    """None when no address is configured. Raises ConfigError when it cannot be bound."""
    if config.remote.listen is None:
        return None
    directory = state_directory(config.privacy.state)
    keyring, keys = Keyring(directory), server_curve(directory)
    pairing = Pairing(directory, keyring, keys[0].decode(), bus.clock, host_boot_id())

    def admit(curve: str) -> bool:
        return keyring.sender(curve) is not None or pairing.current() is not None

    return RemoteDoor(bus.secure_server(config.remote.listen, keys, admit), keyring, pairing)


class RemoteClient:
    """One conversation of a phone or hub with a switch elsewhere. Raises PrivacyError when it does not answer."""

    def __init__(self, identity: Identity, address: str, server: str) -> None:
        self._context = zmq.Context()
        self._identity, self._address = identity, address
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.curve_publickey, self._socket.curve_secretkey = identity.curve
        self._socket.curve_serverkey = server.encode()
        self._socket.connect(address)

    def pair(self, link: Link, name: str) -> Answer:
        signing, curve = self._identity.signing, self._identity.content.curve_public
        made = proof(link.code, link.curve, name, signing, curve)
        return self.ask(Pair(id=secrets.token_hex(8), name=name, signing=signing, curve=curve, proof=made))

    def command(self, command: Command, clock: Clock) -> Answer:
        """Numbers the command and waits for its answer."""
        numbered = Command(
            id=command.id, action=command.action, modalities=command.modalities, requester=command.requester,
            grant=command.grant, hard=command.hard, for_s=command.for_s,
            counter=self._identity.next_counter(clock.wall_us()),
        )  # fmt: skip
        return self.ask(numbered)

    def ask(self, message: Pair | Command) -> Answer:
        self._socket.send(control.encode(message))
        while self._socket.poll(PATIENCE_MS):
            answer = self._decoded(self._socket.recv())
            if isinstance(answer, Answer) and answer.id == message.id:
                return answer
        raise PrivacyError(
            f"the switch at {self._address} does not answer: is it running, and are these keys paired with it?"
        )

    def _decoded(self, frame: bytes) -> AnyControl | None:
        try:
            return control.decode(frame)
        except BadMessage:
            return None

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def link_to(directory: Path, address: str, host: str, code: str) -> Link:
    return Link(address, host, server_curve(directory)[0].decode(), code)
