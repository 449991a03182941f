"""Commands from other hosts, as the process ``door`` passes them on. Off unless ``remote.listen`` is set.

The door has an endpoint of its own, and what comes there may do less than what comes on the host's bus: it is taken for
the paired key that it names, which is looked up here, and its counter must grow. A grant in it is verified like others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from edge_mer.bus import Bus, Server
from edge_mer.config import Config
from edge_mer.contract.clock import host_boot_id
from edge_mer.contract.control import Answer, Command, Pair, Relayed
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Pairing, server_curve
from edge_mer.privacy.switch.requester import Reply, Requester

ENDPOINT = "door"
# So that a flood from outside never delays what happens inside.
MOST_MESSAGES = 50


class RemoteCommands:
    """Yields commands of paired keys; completes pairings itself. ``counters``: what was ``unexpected`` or ``bad``."""

    def __init__(self, server: Server, keyring: Keyring, pairing: Pairing) -> None:
        self._server, self._keyring, self._pairing = server, keyring, pairing
        self._unexpected = 0
        self.close = server.close

    @property
    def counters(self) -> Counter[str]:
        return Counter({"remote.unexpected": self._unexpected, "remote.bad": self._server.bad})

    def receive(self) -> Iterator[tuple[Reply, Requester, Command]]:
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                return
            peer, relayed = received
            if not isinstance(relayed, Relayed):
                self._unexpected += 1
                continue
            reply = self._reply_to(peer, relayed.id)
            if isinstance(relayed.message, Pair):
                reply(self._pair(relayed.message, relayed.key))
            elif (key := self._keyring.sender(relayed.key)) is not None:  # a revoked key is out at once
                yield reply, Requester("remote", relayed.key, key.name), relayed.message
            else:
                self._unexpected += 1

    def _reply_to(self, peer: bytes, id_: str) -> Reply:
        return lambda answer: self._server.send(peer, msgspec.structs.replace(answer, id=id_))

    def _pair(self, message: Pair, curve: str) -> Answer:
        try:
            key = self._pairing.complete(message, curve)
        except (PrivacyError, OSError) as error:
            return Answer(id="", ok=False, text=str(error), modalities={})
        return Answer(id="", ok=True, text=f"paired as {key.name} ({key.role})", modalities={})


def open_remote(config: Config, bus: Bus) -> RemoteCommands | None:
    """None when no address is configured."""
    if config.remote.listen is None:
        return None
    directory = state_directory(config.privacy.state)
    keyring, curve = Keyring(directory), server_curve(directory)[0].decode()
    pairing = Pairing(directory, keyring, curve, bus.clock, host_boot_id())
    return RemoteCommands(bus.server(ENDPOINT), keyring, pairing)
