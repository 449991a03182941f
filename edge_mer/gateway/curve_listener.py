"""TCP access control: allow-listed keys over CURVE or, with ``hub.plaintext``, every program on this host."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from pathlib import Path

import zmq

from edge_mer.bus.connections import Connections
from edge_mer.bus.curve_server import ZapServer, listen, require_curve
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.gateway.outlet import OutletBus
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import server_curve

# All clients of a home may connect at once, for example after a restart of the hub.
BACKLOG = 256
# ZeroMQ does not report when a connection of a key ends, so the rate of new connections is limited.
CONNECT_HZ, CONNECT_BURST = 2, 256
ANY_PROGRAM = "a program on this host"


class CurveListener:
    """Opens listeners. ``refused`` counts peers with an unknown key or with too many connections."""

    def __init__(self, bus: OutletBus, config: Config) -> None:
        """Raises ConfigError for plaintext on an address that other hosts can reach."""
        self._bus, self._plaintext = bus, config.hub.plaintext
        self.directory: Path = state_directory(config.privacy.state)
        self._keyring = Keyring(self.directory)
        self._connected: set[str] = set()
        self._connections: defaultdict[str, Budget] = defaultdict(lambda: Budget(CONNECT_HZ, CONNECT_BURST))
        if self._plaintext:
            for setting in ("publish", "requests"):
                _check_loopback(f"hub.{setting}", getattr(config.hub, setting))
        else:
            self._keys = server_curve(self.directory)
            self._gatekeeper = ZapServer(bus.socket(zmq.REP), self._admit)

    @property
    def refused(self) -> int:
        return 0 if self._plaintext else self._gatekeeper.refused

    def open(
        self, socket: zmq.Socket[bytes], address: str, setting: str, max_bytes: int, queued: int, received: int
    ) -> tuple[str, Connections]:
        """As ``curve_server.listen``."""
        if not self._plaintext:
            require_curve(socket, self._keys)
        return listen(socket, address, setting, max_bytes, queued, received, BACKLOG)

    def turn(self) -> bool:
        """Process pending authentication requests. True when a connected key was revoked: all must then reconnect."""
        if self._plaintext:
            return False
        self._gatekeeper.turn()
        allowed = {k.curve for k in self._keyring.paired()}
        revoked = self._connected - allowed
        self._connected -= revoked
        return bool(revoked)

    def sender(self, frame: zmq.Frame) -> tuple[str, str] | None:
        """Key and name of the sender of a message; None when its key was revoked."""
        if self._plaintext:
            return "", ANY_PROGRAM
        key = self._keyring.sender(str(frame.get("User-Id")))
        return (key.curve, key.name) if key is not None and key.curve is not None else None

    def _admit(self, curve: str) -> bool:
        known = self._keyring.sender(curve) is not None
        if known:
            self._connected.add(curve)
        return known and self._connections[curve].take(1, self._bus.clock.now_us()) == 1


def _check_loopback(setting: str, address: str | None) -> None:
    if address is None:
        return
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if not is_loopback(host):
        raise ConfigError(
            f"{setting} = {address!r} with hub.plaintext: other hosts could read and send requests without a key; "
            "use tcp://127.0.0.1:PORT, or set hub.plaintext = false"
        )


def is_loopback(host: str) -> bool:
    """Whether only this host can reach the address. False for names and for ``*``, which may be reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
