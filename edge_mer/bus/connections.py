"""The TCP connections of a listening ZeroMQ socket. It drops those beyond a number, and those that only fill memory.

ZeroMQ limits the size of a frame and the number of whole messages, but keeps the frames of an unfinished message
without a limit. Here the kernel's count of received bytes (TCP_INFO) shows a connection that sends without ever
finishing a message. Without that count (other kernels) only the number of connections is limited.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import zmq

from edge_mer.contract.clock import SECOND

# linux/tcp.h: tcpi_bytes_received, in every Linux since 4.1.
_RECEIVED, _RECEIVED_AT = struct.Struct("=Q"), 128
# Event and value of zmq_socket_monitor(3). pyzmq's own reader imports asyncio, which delays every start.
_EVENT: Final = struct.Struct("=Hi")
# Heartbeats of a connection that sends no message.
HEARTBEAT_BYTES_S = 100


@dataclass
class _Connection:
    """``finished``: bytes that had arrived with its last whole message, at ``at_us``."""

    peer: object
    at_us: int
    finished: int = 0
    subscriptions: int = 0


class Connections:
    """``most``: connections at once. ``unfinished``: bytes that one may send without finishing a message.

    Call ``turn`` several times a second, and ``finished`` for every message.
    """

    def __init__(self, listener: zmq.Socket[bytes], most: int, unfinished: int) -> None:
        """Before the listener is bound."""
        self.dropped = 0
        self._now_us = 0
        self._listener, self._most, self._unfinished = listener, most, unfinished
        self._monitor = listener.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._open: dict[int, _Connection] = {}

    def turn(self, now_us: int) -> None:
        self._now_us = now_us
        while self._monitor.poll(0):
            event, fd = _EVENT.unpack_from(self._monitor.recv_multipart()[0])
            self._open.pop(fd, None)
            if event == zmq.EVENT_ACCEPTED:
                self._accept(fd)
        for fd, connection in list(self._open.items()):
            with _tcp(fd, connection.peer) as tcp:
                if tcp is None:
                    del self._open[fd]
                elif _received(tcp) - connection.finished > self._allowed(connection):
                    self.drop(fd)

    def finished(self, frame: zmq.Frame) -> int:
        """A whole message has arrived, with this frame. Returns its connection, for the other methods."""
        try:
            fd = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:  # of no connection: XPUB unsubscribes what an ended one had subscribed
            return -1
        connection = self._open.get(fd)
        if connection is not None:
            with _tcp(fd, connection.peer) as tcp:
                connection.at_us, connection.finished = self._now_us, _received(tcp) if tcp is not None else 0
        return fd

    def subscribed(self, fd: int) -> int:
        """How many subscriptions this connection has sent, with the one that has just arrived."""
        connection = self._open.get(fd)
        if connection is None:
            return 0
        connection.subscriptions += 1
        return connection.subscriptions

    def drop(self, fd: int) -> None:
        """End a connection; ZeroMQ then discards what it sent."""
        connection = self._open.pop(fd, None)
        if connection is None:
            return
        with _tcp(fd, connection.peer) as tcp:
            if tcp is not None:
                self.dropped += 1
                tcp.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.disable_monitor()
        self._monitor.close(linger=0)
        self._open.clear()

    def _allowed(self, connection: _Connection) -> int:
        """Bytes that it may have sent since its last whole message."""
        return self._unfinished + (self._now_us - connection.at_us) * HEARTBEAT_BYTES_S // SECOND

    def _accept(self, fd: int) -> None:
        with _tcp(fd) as tcp:
            if tcp is not None:
                self._open[fd] = _Connection(tcp.getpeername(), self._now_us)
        if len(self._open) > self._most:
            self.drop(fd)


@contextmanager
def _tcp(fd: int, peer: object = None) -> Iterator[socket.socket | None]:
    """ZeroMQ's own descriptor as a socket, which stays open; None when it was closed, or is another connection's."""
    try:
        tcp = socket.socket(fileno=fd)
    except OSError:
        yield None
        return
    try:
        is_same = peer is None or tcp.getpeername() == peer
    except OSError:
        is_same = False
    try:
        yield tcp if is_same else None
    except OSError:
        return  # it ended meanwhile
    finally:
        tcp.detach()


def _received(tcp: socket.socket) -> int:
    info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + _RECEIVED.size)
    return int(_RECEIVED.unpack_from(info, _RECEIVED_AT)[0]) if len(info) == _RECEIVED_AT + _RECEIVED.size else 0
