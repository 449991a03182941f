"""The public topics on one XPUB socket. A client that does not read loses only its own messages."""

from __future__ import annotations

from collections import Counter

import zmq

from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError
from edge_mer.gateway.curve_listener import CurveListener
from edge_mer.gateway.outlet import PUBLIC, RETAINED, OutletBus
from edge_mer.gateway.public_message import PublicMessage

# A subscription is a prefix of a topic; a frame of the CURVE handshake is longer.
LONGEST_SUBSCRIPTION, LONGEST_FRAME = 64, 512
# Of one connection; each costs ZeroMQ up to 50 bytes per byte, and one that sends more is dropped.
MOST_SUBSCRIPTIONS = 100
# ZeroMQ stores subscriptions before they can be counted here, so only a few of one connection may be under way.
SUBSCRIPTIONS_QUEUED = 10
# Subscriptions processed in one turn.
MOST_IN_A_TURN = 1000
# Least time between resends of the last values to new clients: XPUB sends them to all, with their original seq.
RESEND_US = SECOND // 10
# Queue of one client: 10 s of all topics.
QUEUED = round(10 * sum(s.rate_hz for s in PUBLIC.values()))


class PublicPublisher:
    """One XPUB socket. ``last`` holds the newest message of each retained topic."""

    def __init__(self, bus: OutletBus, listener: CurveListener, address: str) -> None:
        """Raises ConfigError when the address cannot be bound."""
        self._counts: Counter[str] = Counter()
        self.last: dict[str, PublicMessage] = {}
        self._bus, self._listener = bus, listener
        self._socket: zmq.Socket[bytes] | None = None
        self._wanted: set[str] = set()
        self._subscribed: set[bytes] = set()
        self._resend_due = 0
        self.address = address
        self._open()

    @property
    def counters(self) -> Counter[str]:
        dropped = self._connections.dropped if self._socket is not None else 0
        return self._counts + Counter(dropped=dropped)

    def publish(self, message: PublicMessage) -> None:
        """Send one message; only the fields of its schema leave the host."""
        if message.topic in RETAINED:
            self.last[message.topic] = message
        self._send(message)

    def wants(self, topic: str) -> bool:
        """Whether a client is subscribed to it now."""
        return any(topic.encode().startswith(prefix) for prefix in self._subscribed)

    def turn(self, now_us: int) -> None:
        if self._socket is None:
            self._reopen()
        if self._socket is not None:
            self._connections.turn(now_us)
        self._subscriptions()
        if self._wanted and now_us >= self._resend_due:
            self._resend_due = now_us + RESEND_US
            for topic in sorted(self._wanted & set(self.last)):
                self._send(self.last[topic])
            self._wanted.clear()

    def reopen(self) -> None:
        """Disconnect all clients; those that are still allowed reconnect by themselves."""
        self.close()
        self._reopen()

    def close(self) -> None:
        if self._socket is not None:
            self._counts["dropped"] += self._connections.dropped
            self._connections.close()
            self._bus.release(self._socket)
            self._socket = None
            self._subscribed.clear()

    def _open(self) -> None:
        socket = self._bus.socket(zmq.XPUB)
        # Report every subscription (a new client gets the last values), but only the last unsubscription of a prefix.
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        try:
            self.address, self._connections = self._listener.open(
                socket, self.address, "hub.publish", LONGEST_FRAME, QUEUED, SUBSCRIPTIONS_QUEUED
            )
        except ConfigError:
            self._bus.release(socket)
            raise
        self._socket = socket

    def _reopen(self) -> None:
        """Retried at every turn: ZeroMQ frees a port some time after the socket was closed."""
        try:
            self._open()
        except ConfigError:
            self._counts["port_busy"] += 1

    def _subscriptions(self) -> None:
        socket = self._socket
        for _ in range(MOST_IN_A_TURN if socket is not None else 0):
            assert socket is not None
            if not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return
            frame = socket.recv(zmq.NOBLOCK, copy=False)
            connection, data = self._connections.finished(frame), frame.bytes
            kind, prefix = data[:1], data[1:]
            is_new = kind == b"\1"
            if is_new and self._connections.subscribed(connection) > MOST_SUBSCRIPTIONS:
                self._connections.drop(connection)
            topics = {t for t in PUBLIC if t.encode().startswith(prefix)}
            if kind not in (b"\0", b"\1") or not topics:
                self._counts["bad_subscription"] += 1
                if len(prefix) > LONGEST_SUBSCRIPTION:
                    self._connections.drop(connection)
                continue
            if is_new:
                self._subscribed.add(prefix)
                self._wanted |= topics & RETAINED
            else:
                self._subscribed.discard(prefix)

    def _send(self, message: PublicMessage) -> None:
        if self._socket is None:
            return
        frames = wire.encode(message.topic, message.envelope, message.body)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            self._counts["unsent"] += 1
