"""Hostile clients of a running instance, for ``edge-mer soak doors``. Each runs in a process of its own.

They stand for other hosts, so they take only the processor time that this host leaves (``nice`` 19).

``python -m edge_mer.bench.hostile_clients NAME SECONDS ADDRESS SERVER PUBLIC SECRET``: the address, and for ZeroMQ the
server's CURVE key and the client's pair (Z85). Prints how much it sent.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec
import zmq

from edge_mer.contract import control
from edge_mer.contract.control import Command
from edge_mer.contract.domain import MODALITIES

DAY_S = 86_400
Keys = tuple[bytes, bytes, bytes]
Send = Callable[[], object]


def timed_masks(address: str, keys: Keys) -> Iterator[Send]:
    """B1: every mask ends a second later than the one before."""
    client = _socket(zmq.DEALER, address, keys)
    for n in itertools.count(1):
        request = {"id": str(n), "request": "mask", "modalities": MODALITIES, "for_s": DAY_S + n % DAY_S}
        yield _sender(client, msgspec.json.encode(request))


def timed_remote_masks(address: str, keys: Keys) -> Iterator[Send]:
    """B1, at the door."""
    client, first = _socket(zmq.DEALER, address, keys), time.time_ns()
    for n in itertools.count(1):
        command = Command(id=str(n), action="mask", modalities=MODALITIES, for_s=DAY_S + n % DAY_S, counter=first + n)
        yield _sender(client, control.encode(command))


def subscriptions(address: str, keys: Keys) -> Iterator[Send]:
    """B3: as long as a frame may be, and all different."""
    client = _socket(zmq.XSUB, address, keys)
    for n in itertools.count():
        yield _sender(client, b"\x01%0440d" % n)


def endless_message(address: str, keys: Keys, kind: int = zmq.DEALER) -> Iterator[Send]:
    """B4: messages of 20 MB in frames of 400 bytes."""
    client = _socket(kind, address, keys)
    frames = [b"x" * 400] * 50_000
    while True:
        yield lambda: client.send_multipart(frames)


def endless_subscription(address: str, keys: Keys) -> Iterator[Send]:
    """B4, where topics are published."""
    return endless_message(address, keys, zmq.XSUB)


def half_open(address: str, keys: Keys) -> Iterator[Send]:
    """B7: connections that never begin their TLS handshake."""
    parts = urlsplit(address)
    kept: list[socket.socket] = []

    def connect() -> None:
        with suppress(OSError):
            kept.append(socket.create_connection((parts.hostname or "", parts.port or 0), 0.5))

    while True:
        yield connect


def identities(address: str, keys: Keys) -> Iterator[Send]:
    """B9: every client takes the same identity."""
    for n in itertools.count():
        client = _socket(zmq.DEALER, address, keys, identity=b"victim")
        yield _sender(client, b'{"id": "%d", "request": "describe"}' % n)
        client.close()


ATTACKS: dict[str, Callable[[str, Keys], Iterator[Send]]] = {
    f.__name__: f
    for f in (
        timed_masks,
        timed_remote_masks,
        subscriptions,
        endless_message,
        endless_subscription,
        half_open,
        identities,
    )
}


def _socket(kind: int, address: str, keys: Keys, identity: bytes = b"") -> zmq.Socket[bytes]:
    client: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.SNDTIMEO, 200)
    client.curve_serverkey, client.curve_publickey, client.curve_secretkey = keys
    if identity:
        client.setsockopt(zmq.ROUTING_ID, identity)
    client.connect(address)
    return client


def _sender(client: zmq.Socket[bytes], data: bytes) -> Send:
    def send() -> None:
        client.send(data)
        while client.type == zmq.DEALER and client.poll(0):
            client.recv()

    return send


def main() -> None:
    os.nice(19)
    name, seconds, address, *keys = sys.argv[1:]
    server, public, secret = (k.encode() for k in keys)
    until, sent = time.monotonic() + float(seconds), 0
    for send in ATTACKS[name](address, (server, public, secret)):
        if time.monotonic() >= until:
            break
        with suppress(zmq.Again):
            send()
            sent += 1
    print(sent)


if __name__ == "__main__":
    main()
