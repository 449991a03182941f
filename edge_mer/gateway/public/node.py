"""The process ``hub``: the public topics on one XPUB socket, and requests on one ROUTER socket. Off by default.

It carries exactly the rows that the services table marks public. A client that does not read loses messages of its own
(bounded per client) and nobody else's; nothing here is in the way of capture or fusion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import zmq

from edge_mer.bus import Bus, Reader, ReliableReader, ZmqBus
from edge_mer.config import Config
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import Estimate, HubHeartbeat, Message
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.curve_listener import CurveListener
from edge_mer.gateway.lazy_topic import LazyTopic
from edge_mer.gateway.lower_priority import lower_priority
from edge_mer.gateway.requests.server import RequestServer
from edge_mer.gateway.stale_after_mask import StaleAfterMask
from edge_mer.privacy.purge_client import PurgeClient

NAME = "hub"
BEAT_US = SECOND
TURN_US = SECOND // 5
# A subscription is a topic's prefix; CURVE's own handshake takes some hundred bytes more.
LONGEST_SUBSCRIPTION = 1024
MOST_SUBSCRIPTIONS = 1000
# A newcomer gets the last values at most this often: with XPUB they go to everybody, with the seq they had.
AGAIN_US = SECOND // 10

PUBLIC = {s.topic: s for s in SERVICES.values() if s.public}
# Never those derived from a person: after a mask nothing from before it is sent again.
REMEMBERED = frozenset(t for t, s in PUBLIC.items() if s.policy == "latest" and not s.biometric)
# What one client may have waiting: 10 s of everything.
QUEUED = round(10 * sum(s.rate_hz for s in PUBLIC.values()))


class PublicPublisher:
    """One XPUB socket. ``last`` holds the newest message of each topic that is remembered."""

    def __init__(self, bus: ZmqBus, door: CurveListener, address: str) -> None:
        """Raises ConfigError when the address cannot be bound."""
        self.counters: Counter[str] = Counter()
        self.last: dict[str, Message[Any]] = {}
        self._bus, self._door = bus, door
        self._socket: zmq.Socket[bytes] | None = None
        self._wanted: set[str] = set()
        self._subscribed: set[bytes] = set()
        self._again_due = 0
        self.address = address
        self._open()

    def publish(self, message: Message[Any]) -> None:
        """Send one message of a public topic; only the fields of its schema leave the host, and never a payload."""
        if message.topic not in PUBLIC or message.payload:
            self.counters["not_public"] += 1
            return
        if message.topic in REMEMBERED:
            self.last[message.topic] = message
        self._send(message)

    def wants(self, topic: str) -> bool:
        """Whether anybody subscribes to it now."""
        return any(topic.encode().startswith(prefix) for prefix in self._subscribed)

    def turn(self, now_us: int) -> None:
        if self._socket is None:
            self._try_again()
        self._subscriptions()
        if self._wanted and now_us >= self._again_due:
            self._again_due = now_us + AGAIN_US
            for topic in sorted(self._wanted & set(self.last)):
                self._send(self.last[topic])
            self._wanted.clear()

    def reopen(self) -> None:
        """Drop everybody; those that are still allowed come back by themselves."""
        self.close()
        self._try_again()

    def close(self) -> None:
        if self._socket is not None:
            self._bus.release(self._socket)
            self._socket = None
            self._subscribed.clear()

    def _open(self) -> None:
        socket = self._bus.socket(zmq.XPUB)
        # Every subscription is handed up, as a newcomer gets the last values; of a prefix's ends only the last one.
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        try:
            self.address = self._door.open(socket, self.address, "hub.publish", LONGEST_SUBSCRIPTION, QUEUED)
        except ConfigError:
            self._bus.release(socket)
            raise
        self._socket = socket

    def _try_again(self) -> None:
        """ZeroMQ gives a port back a moment after it closed."""
        try:
            self._open()
        except ConfigError:
            self.counters["port_busy"] += 1

    def _subscriptions(self) -> None:
        socket = self._socket
        for _ in range(MOST_SUBSCRIPTIONS if socket is not None else 0):
            assert socket is not None
            if not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return
            frame = socket.recv(zmq.NOBLOCK)
            kind, prefix = frame[:1], frame[1:]
            topics = {t for t in PUBLIC if t.encode().startswith(prefix)}
            if kind not in (b"\0", b"\1") or not topics:
                self.counters["bad_subscription"] += 1
                continue
            if kind == b"\1":
                self._subscribed.add(prefix)
                self._wanted |= topics & REMEMBERED
            else:
                self._subscribed.discard(prefix)

    def _send(self, message: Message[Any]) -> None:
        if self._socket is None:
            return
        frames = wire.encode(message.topic, message.envelope, message.body)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            self.counters["unsent"] += 1


class PublicNode:
    """Reads the public topics on the bus, and hands each message to whoever subscribed over TCP."""

    def __init__(self, config: Config, bus: ZmqBus) -> None:
        """Raises ConfigError for addresses that cannot be bound, and for plaintext that others could reach."""
        self._clock = bus.clock
        self._door = CurveListener(bus, config)
        self.plane = PublicPublisher(bus, self._door, config.hub.publish) if config.hub.publish else None
        self._last: dict[str, Message[Any]] = self.plane.last if self.plane else {}
        self.desk = RequestServer(bus, self._door, config.hub.requests, self._last) if config.hub.requests else None
        self._on_request = {t: LazyTopic(bus, t) for t, s in PUBLIC.items() if s.on_request}
        latest = [t for t, s in PUBLIC.items() if s.policy == "latest" and not s.on_request and t != "heartbeat"]
        reliable = [t for t, s in PUBLIC.items() if s.policy == "reliable"]
        self._readers: list[Reader | ReliableReader] = [
            bus.reader(*latest),
            *(ReliableReader(bus, t) for t in reliable),
        ]
        self._heartbeat = bus.publisher("heartbeat", NAME)
        self._beat_due = 0
        self._lineage = PurgeClient(bus, NAME, MODALITIES)
        self._before_mask = StaleAfterMask()

    def turn(self) -> int:
        """Admit, forward, answer, and say once a second that the hub is alive. Returns the longest wait (us)."""
        now = self._clock.now_us()
        if self._door.turn() and self.plane is not None:
            self.plane.reopen()
        for order in self._lineage.orders():
            self._before_mask.order(order.mask_epoch, now)
            self._lineage.done(order)
        for reader in self._readers:
            for message in reader.drain():
                self._take(message)
        for topic, source in self._on_request.items():
            for message in source.drain(self.plane is not None and self.plane.wants(topic)):
                self._take(message)
        if now >= self._beat_due:
            self._beat_due = now + BEAT_US
            beat = HubHeartbeat(topics=tuple(PUBLIC), next_us=self._beat_due)
            self._take(self._heartbeat.send(beat, origin_us=now))
        if self.plane is not None:
            self.plane.turn(now)
        if self.desk is not None:
            self.desk.turn(now)
        return TURN_US

    @property
    def wake(self) -> tuple[int, ...]:
        return ()  # its sockets are on the bus

    @property
    def counters(self) -> Mapping[str, int]:
        found = Counter({"refused": self._door.refused})
        for part in (*self._readers, self.plane, self.desk):
            if part is not None:
                found += part.counters
        return found

    def close(self) -> None:
        self._lineage.leave()
        for part in (self.plane, self.desk):
            if part is not None:
                part.close()

    def _take(self, message: Message[Any]) -> None:
        if self._before_mask.has(message):
            return
        body = message.body
        if self.desk is not None and isinstance(body, Estimate) and not (body.revision or body.final):
            self.desk.estimated(message)
        if self.plane is not None:
            self.plane.publish(message)
        elif message.topic in REMEMBERED:
            self._last[message.topic] = message


def build(config: Config, bus: Bus) -> PublicNode:
    """Raises ConfigError when a configured address cannot be used."""
    assert isinstance(bus, ZmqBus)
    lower_priority()
    return PublicNode(config, bus)
