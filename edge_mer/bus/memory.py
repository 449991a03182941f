"""The in-memory bus: same checks, same bounds, same drop rules, no sockets, and a clock that the test provides."""

from __future__ import annotations

import itertools
from collections import deque

from edge_mer.bus.control_channel import Client, Server
from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.contract.clock import Clock, FakeClock
from edge_mer.contract.errors import EndpointInUse
from edge_mer.contract.services import SERVICES


class MemoryBroker:
    """Connects publishers and readers, as ZeroMQ and the file system do for the real bus."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.inboxes: dict[str, list[deque[list[bytes]]]] = {}
        self.servers: dict[str, deque[list[bytes]]] = {}
        self.clients: dict[bytes, deque[list[bytes]]] = {}
        self.identities = itertools.count()

    def inject(self, topic: str, frames: list[bytes]) -> None:
        """Deliver raw frames to the readers of ``topic``; with it, tests send invalid frames."""
        mark, name = SERVICES[topic].high_water_mark, topic.encode()
        for inbox in self.inboxes.get(topic, []):
            # A full ZMQ pipe drops the newest message, and every publisher has its own pipe.
            if len(inbox) < mark or sum(held[0] == name for held in inbox if held) < mark:
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
        self._closers: list[Reader | Client] = []

    def publisher(self, topic: str, source: str) -> Publisher:
        self._own(f"pub:{topic}")
        return Publisher(
            topic,
            source,
            self.boot,
            self.clock,
            lambda frames: self.broker.inject(topic, frames),
            lambda: self._disown(f"pub:{topic}"),
            lambda: not SERVICES[topic].on_request or bool(self.broker.inboxes.get(topic)),
        )

    def reader(self, *topics: str, awaited: bool = False) -> Reader:
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

    def server(self, endpoint: str) -> Server:
        self._own(f"server:{endpoint}")
        inbox = self.broker.servers[endpoint] = deque()

        def send(peer: bytes, frames: list[bytes]) -> bool:
            known = peer in self.broker.clients
            if known:
                self.broker.clients[peer].append(frames)
            return known

        def close() -> None:
            self._disown(f"server:{endpoint}")
            self.broker.servers.pop(endpoint, None)

        return Server(send, lambda: inbox.popleft() if inbox else None, close)

    def client(self, endpoint: str) -> Client:
        identity = b"%d" % next(self.broker.identities)
        inbox = self.broker.clients[identity] = deque()

        def send(frames: list[bytes]) -> bool:
            if (server := self.broker.servers.get(endpoint)) is not None:
                server.append([identity, *frames])
            return True  # as over ZeroMQ, messages that are sent without a server are lost

        def close() -> None:
            self.broker.clients.pop(identity, None)

        client = Client(send, lambda: inbox.popleft() if inbox else None, close)
        self._closers.append(client)
        return client

    def wait(self, timeout_us: int, *wake: int) -> None:
        """Tests call the turns themselves; waiting only advances a fake clock."""
        if isinstance(self.clock, FakeClock):
            self.clock.advance(timeout_us)

    def close(self) -> None:
        """Also stands for kill -9: the sockets close without a message."""
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
