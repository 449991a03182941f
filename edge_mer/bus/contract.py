"""What the ZeroMQ bus and its in-memory twin have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.clock import Clock
from edge_mer.control import AnyControl

Frames = list[bytes]


class Client(Protocol):
    """One side of a reliable conversation (DEALER)."""

    def send(self, message: AnyControl) -> None: ...

    def receive(self) -> AnyControl | Frames | None:
        """The next message, or None. Corrupt ones are dropped and counted in ``bad``."""
        ...

    @property
    def bad(self) -> int: ...

    def close(self) -> None: ...


class Server(Protocol):
    """The owner of a reliable endpoint (ROUTER). A peer is known by the bytes of its identity."""

    def send(self, peer: bytes, message: AnyControl | Sequence[bytes]) -> None: ...

    def receive(self) -> tuple[bytes, AnyControl] | None: ...

    @property
    def bad(self) -> int: ...

    def close(self) -> None: ...


class Bus(Protocol):
    """Makes the sockets of one process. Every publisher owns its topic's endpoint alone."""

    @property
    def clock(self) -> Clock: ...

    @property
    def boot(self) -> str:
        """Names this life of the process."""
        ...

    def publisher(self, topic: str, source: str) -> Publisher:
        """Bind the topic's endpoint. Raises EndpointInUse when another process owns it."""
        ...

    def reader(self, *topics: str) -> Reader: ...

    def server(self, endpoint: str) -> Server: ...

    def client(self, endpoint: str) -> Client: ...

    def wait(self, timeout_us: int, *wake: int) -> None:
        """Return when a socket of this bus or a file descriptor of ``wake`` is readable, or at the timeout."""
        ...

    def close(self) -> None: ...
