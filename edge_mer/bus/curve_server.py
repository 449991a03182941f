"""A reliable endpoint over TCP: CURVE encrypts, ZAP admits known keys only. All other endpoints are local.

What one peer may cost is bounded: the size of a message, over all its frames; whole messages that wait; connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import zmq
from zmq.utils import z85

from edge_mer.bus.connections import Connections
from edge_mer.contract import control
from edge_mer.contract.control import AnyControl
from edge_mer.contract.errors import BadMessage, ConfigError

ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # fixed by RFC 27
ZAP_VERSION, CURVE = b"1.0", b"CURVE"
# A peer that neither finishes its handshake nor answers is dropped.
HANDSHAKE_MS, HEARTBEAT_MS, BACKLOG, MOST_QUEUED = 2000, 5000, 16, 100
MOST_CONNECTIONS = 256
# Bytes of one connection: in the kernel, and beyond the longest message before a message is whole.
KERNEL_BYTES, SLACK_BYTES = 64_000, 256_000
# ZeroMQ makes an identity of this length for a peer that brings none; it begins with 0, which no peer may.
OWN_IDENTITY = 5


class ZapServer:
    """The ZAP server of one process: ``admit``: whether a CURVE public key (Z85) may connect."""

    def __init__(self, zap: zmq.Socket[bytes], admit: Callable[[str], bool]) -> None:
        self.refused = 0
        self._zap, self._admit = zap, admit
        zap.bind(ZAP_ENDPOINT)  # before any listener: without a ZAP server every peer would be admitted

    def turn(self) -> None:
        while int(self._zap.get(zmq.EVENTS)) & zmq.POLLIN:
            version, request, _, _, _, mechanism, *credentials = self._zap.recv_multipart(zmq.NOBLOCK)
            key = z85.encode(credentials[0]).decode() if mechanism == CURVE and len(credentials[0]) == 32 else ""
            good = version == ZAP_VERSION and bool(key) and self._admit(key)
            self.refused += not good
            status = (b"200", b"OK", key.encode()) if good else (b"400", b"this key is not paired", b"")
            self._zap.send_multipart([ZAP_VERSION, request, *status, b""])


def require_curve(socket: zmq.Socket[bytes], keys: tuple[bytes, bytes]) -> None:
    """Only peers with CURVE whose key the process's ZAP server admits. ``keys``: public and secret, Z85."""
    socket.curve_publickey, socket.curve_secretkey = keys
    socket.curve_server = True
    socket.setsockopt(zmq.ZAP_DOMAIN, b"edge_mer")


def listen(
    socket: zmq.Socket[bytes],
    address: str,
    setting: str,
    max_bytes: int,
    queued: int = MOST_QUEUED,
    received: int = MOST_QUEUED,
    backlog: int = BACKLOG,
) -> tuple[str, Connections]:
    """Bind to TCP, with limits on the resources of one peer; returns the endpoint and its connections.

    ``queued``, ``received``: whole messages that wait for one peer, and of it. Raises ConfigError.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.RCVBUF, KERNEL_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.BACKLOG, backlog)
    socket.setsockopt(zmq.SNDHWM, queued)
    socket.setsockopt(zmq.RCVHWM, received)
    connections = Connections(socket, MOST_CONNECTIONS, max_bytes + SLACK_BYTES)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        connections.close()
        raise ConfigError(f"{setting} = {address!r}: {error.strerror}") from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT), connections


def has_own_identity(identity: bytes) -> bool:
    """Whether ZeroMQ made the identity of a peer. One that the peer chose could be that of another client."""
    return len(identity) == OWN_IDENTITY and not identity[0]


class CurveServer:
    """``admit``: whether a CURVE public key (Z85) may connect.

    ``counters``: ``refused`` keys, ``bad`` messages, ``dropped`` connections. Call ``turn`` several times a second.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        zap: zmq.Socket[bytes],
        address: str,
        keys: tuple[bytes, bytes],
        admit: Callable[[str], bool],
        release: Callable[[], object],
        max_bytes: int,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._release = release
        self._socket, self._zap = socket, ZapServer(zap, admit)
        require_curve(socket, keys)
        self.address, self._connections = listen(socket, address, "remote.listen", max_bytes)

    def turn(self, now_us: int) -> None:
        self._zap.turn()
        self._connections.turn(now_us)
        self.counters |= Counter(refused=self._zap.refused, dropped=self._connections.dropped)

    def receive(self) -> tuple[bytes, str, AnyControl] | None:
        """The next message: the peer to answer, the CURVE key of the sender, and the message."""
        while int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            connection = self._connections.finished(frames[-1])
            if not has_own_identity(frames[0].bytes):
                self._connections.drop(connection)
                continue
            try:
                if len(frames) != 2:
                    raise BadMessage(f"control: expected one frame, got {len(frames) - 1}")
                return frames[0].bytes, str(frames[1].get("User-Id")), control.decode(frames[1].bytes)
            except BadMessage:
                self.counters["bad"] += 1
        return None

    def send(self, peer: bytes, message: AnyControl) -> None:
        try:
            self._socket.send_multipart([peer, control.encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:
            self.counters["unsent"] += 1

    def close(self) -> None:
        self._connections.close()
        self._release()
