"""The in-memory twin: same checks, same bounds, same drop rules, no sockets and a clock of the test's choice."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence

from edge_mer import control
from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.clock import Clock, FakeClock
from edge_mer.control import AnyControl
from edge_mer.errors import BadMessage, EndpointInUse
from edge_mer.services import SERVICES


class MemoryBroker:
    """What ZeroMQ and the file system are to the real bus: the place where sockets meet."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.inboxes: dict[str, list[deque[list[bytes]]]] = {}
        self.servers: dict[str, deque[tuple[bytes, bytes]]] = {}
        self.clients: dict[bytes, deque[list[bytes]]] = {}
        self.identities = itertools.count()

    def inject(self, topic: str, frames: list[bytes]) -> None:
        """Deliver raw frames to the readers of ``topic``: how tests send what no publisher would."""
        for inbox in self.inboxes.get(topic, []):
            if len(inbox) < SERVICES[topic].high_water_mark:  # a full ZMQ pipe drops the newest
                inbox.append(frames)

    def own(self, endpoint: str, boot: str) -> None:
        if self.owners.setdefault(endpoint, boot) != boot:
            raise EndpointInUse(f"{endpoint} is owned by process {self.owners[endpoint]}; stop it first")


class MemoryBus:
    """One process's view of a broker."""

    def __init__(self, broker: MemoryBroker, clock: Clock | None = None, boot: str = "") -> None:
        self.broker = broker
        self.clock: Clock = clock or FakeClock()
        self.boot = boot or f"boot{next(broker.identities)}"
        self._owned: list[str] = []
        self._closers: list[Reader | _MemoryClient] = []

    def publisher(self, topic: str, source: str) -> Publisher:
        self._own(f"pub:{topic}")
        return Publisher(topic, source, self.boot, self.clock,
                         lambda frames: self.broker.inject(topic, frames),
                         lambda: self._disown(f"pub:{topic}"))  # fmt: skip

    def reader(self, *topics: str) -> Reader:
        inbox: deque[list[bytes]] = deque()
        lists = [self.broker.inboxes.setdefault(t, []) for t in topics]
        for readers in lists:
            readers.append(inbox)

        def close() -> None:
            for readers in lists:
                if inbox in readers:
                    readers[:] = [r for r in readers if r is not inbox]

        reader = Reader(topics, self.clock, lambda: inbox.popleft() if inbox else None, close)
        self._closers.append(reader)
        return reader

    def server(self, endpoint: str) -> _MemoryServer:
        self._own(f"server:{endpoint}")
        self.broker.servers.setdefault(endpoint, deque()).clear()
        return _MemoryServer(self.broker, endpoint, lambda: self._disown(f"server:{endpoint}"))

    def client(self, endpoint: str) -> _MemoryClient:
        client = _MemoryClient(self.broker, endpoint, b"%d" % next(self.broker.identities))
        self._closers.append(client)
        return client

    def wait(self, timeout_us: int, *wake: int) -> None:
        """Tests take turns by hand; waiting only moves a fake clock."""
        if isinstance(self.clock, FakeClock):
            self.clock.advance(timeout_us)

    def close(self) -> None:
        """Also what kill -9 looks like to the others: sockets are gone, nothing is said."""
        for closer in self._closers:
            closer.close()
        for endpoint in list(self._owned):
            self._disown(endpoint)

    def _own(self, endpoint: str) -> None:
        self.broker.own(endpoint, self.boot)
        self._owned.append(endpoint)

    def _disown(self, endpoint: str) -> None:
        if endpoint in self._owned:
            self._owned.remove(endpoint)
            self.broker.owners.pop(endpoint, None)


class _MemoryServer:
    def __init__(self, broker: MemoryBroker, endpoint: str, close: object) -> None:
        self._broker, self._endpoint, self._close = broker, endpoint, close
        self.bad = 0

    def send(self, peer: bytes, message: AnyControl | Sequence[bytes]) -> None:
        frames = list(message) if isinstance(message, (list, tuple)) else [control.encode(message)]  # type: ignore[arg-type]
        if peer in self._broker.clients:
            self._broker.clients[peer].append(frames)

    def receive(self) -> tuple[bytes, AnyControl] | None:
        queue = self._broker.servers[self._endpoint]
        while queue:
            peer, frame = queue.popleft()
            try:
                return peer, control.decode(frame)
            except BadMessage:
                self.bad += 1
        return None

    def close(self) -> None:
        if callable(self._close):
            self._close()
        self._broker.servers.pop(self._endpoint, None)


class _MemoryClient:
    def __init__(self, broker: MemoryBroker, endpoint: str, identity: bytes) -> None:
        self._broker, self._endpoint, self._identity = broker, endpoint, identity
        self._inbox = broker.clients.setdefault(identity, deque())
        self.bad = 0

    def send(self, message: AnyControl) -> None:
        queue = self._broker.servers.get(self._endpoint)
        if queue is not None:
            queue.append((self._identity, control.encode(message)))

    def receive(self) -> AnyControl | list[bytes] | None:
        while self._inbox:
            frames = self._inbox.popleft()
            if len(frames) > 1:
                return frames
            try:
                return control.decode(frames[0])
            except BadMessage:
                self.bad += 1
        return None

    def close(self) -> None:
        self._broker.clients.pop(self._identity, None)
