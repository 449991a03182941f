"""Commands of root: a Unix socket whose kernel says who connects (SO_PEERCRED). Only they lift hard masks."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from edge_mer.contract import control
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.errors import BadMessage
from edge_mer.privacy.switch.requester import ROOT, Reply, Requester

_CREDENTIALS = struct.Struct("iII")
MOST_OPEN = 8


def peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


class RootSocket:
    NAME = "root"

    def __init__(self, path: Path, uid_of: Callable[[socket.socket], int] = peer_uid) -> None:
        path.unlink(missing_ok=True)
        self._path, self._uid_of = path, uid_of
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(MOST_OPEN)
        self._open: list[socket.socket] = []

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._listener.fileno(), *(c.fileno() for c in self._open))

    def receive(self) -> Iterator[tuple[Reply, Requester, Command]]:
        with suppress(BlockingIOError):
            while len(self._open) < MOST_OPEN:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._open.append(connection)
        for connection in list(self._open):
            try:
                data = connection.recv(control.MAX_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            message = _decoded(data)
            if not isinstance(message, Command):
                self._drop(connection)
            elif (uid := self._uid_of(connection)) != 0:
                text = f"only root may ask here, not user {uid}"
                _reply(connection, Answer(id=message.id, ok=False, text=text, modalities={}))
                self._drop(connection)
            else:
                yield partial(_reply, connection), ROOT, message

    def close(self) -> None:
        for connection in list(self._open):
            self._drop(connection)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _drop(self, connection: socket.socket) -> None:
        self._open.remove(connection)
        connection.close()


def _reply(connection: socket.socket, answer: Answer) -> None:
    with suppress(OSError):
        connection.send(control.encode(answer))


def _decoded(data: bytes) -> object:
    try:
        return control.decode(data)
    except BadMessage:
        return None
