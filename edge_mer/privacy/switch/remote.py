"""The control plane over TCP: the switch's side, and the client of a phone or hub. Off unless ``remote.listen`` is set.

Only commands and pairing come through here; what gates, children and the supervisor say never leaves the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge_mer.bus import ZmqBus
from edge_mer.bus.curve_server import CurveServer
from edge_mer.config import Config
from edge_mer.contract.clock import host_boot_id
from edge_mer.contract.control import Answer, Command, Pair
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Link, Pairing, server_curve
from edge_mer.privacy.switch.requester import Reply, Requester

# So that a flood from outside never holds up what happens inside.
MOST_MESSAGES = 50


class RemoteControl:
    """Yields commands of paired keys; completes pairings itself. ``counters``: what was ``refused`` or ``bad``."""

    def __init__(self, server: CurveServer, keyring: Keyring, pairing: Pairing) -> None:
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

    def receive(self) -> Iterator[tuple[Reply, Requester, Command]]:
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                return
            peer, curve, message = received
            key = self._keyring.sender(curve)  # asked for every message: a revoked key is out at once
            if isinstance(message, Pair):
                self._pair(peer, curve, message)
            elif isinstance(message, Command) and key is not None:
                yield self._reply_to(peer), Requester("remote", curve, key.name), message
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


def open_remote(config: Config, bus: ZmqBus) -> RemoteControl | None:
    """None when no address is configured. Raises ConfigError when it cannot be bound."""
    if config.remote.listen is None:
        return None
    directory = state_directory(config.privacy.state)
    keyring, keys = Keyring(directory), server_curve(directory)
    pairing = Pairing(directory, keyring, keys[0].decode(), bus.clock, host_boot_id())

    def admit(curve: str) -> bool:
        return keyring.sender(curve) is not None or pairing.current() is not None

    return RemoteControl(bus.secure_server(config.remote.listen, keys, admit), keyring, pairing)


def link_to(directory: Path, address: str, host: str, code: str) -> Link:
    return Link(address, host, server_curve(directory)[0].decode(), code)
