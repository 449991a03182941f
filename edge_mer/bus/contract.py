"""The interface of the ZeroMQ bus and of the in-memory bus."""

from __future__ import annotations

from typing import Protocol

from edge_mer.bus.control_channel import Client, Server
from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.contract.clock import Clock


class Bus(Protocol):
    """Creates the sockets of one process. Every topic has one publisher, which owns its endpoint."""

    @property
    def clock(self) -> Clock: ...

    @property
    def boot(self) -> str:
        """Instance id: identifies this run of the process."""
        ...

    def publisher(self, topic: str, source: str) -> Publisher:
        """Bind the topic's endpoint. Raises EndpointInUse when another process owns it."""
        ...

    def reader(self, *topics: str, awaited: bool = False) -> Reader:
        """``awaited``: publishers that start wait for it, so that it misses no message (a recorder)."""
        ...

    def server(self, endpoint: str) -> Server: ...

    def client(self, endpoint: str) -> Client: ...

    def wait(self, timeout_us: int, *wake: int) -> None:
        """Return when a socket of this bus or a file descriptor of ``wake`` is readable, or at the timeout."""
        ...

    def close(self) -> None: ...
