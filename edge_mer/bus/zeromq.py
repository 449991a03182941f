"""The bus over ZeroMQ ``ipc://`` sockets in a private runtime directory."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import zmq

from edge_mer.bus.control_channel import Client, Server
from edge_mer.bus.curve_server import CurveServer
from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.contract.clock import Clock, SystemClock
from edge_mer.contract.errors import ConfigError, EndpointInUse
from edge_mer.contract.places import unwritable
from edge_mer.contract.services import SERVICES

PATH_LIMIT = 100  # sun_path holds 107 bytes on Linux
RECONNECT_MS = 20
SETTLE_S = 0.08  # a reader reconnects at random within twice the reconnect interval, then subscribes
AWAITED_S = 1.0  # for readers that must not miss a message, on a loaded machine
# What an awaited reader subscribes to beside its topics, so that publishers know it. No topic begins with it.
AWAITED = b"awaited"


def runtime_directory(configured: str | None = None) -> Path:
    """The directory of the sockets: created 0700, refused when other users could access it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    default = Path(base) / "edge_mer" if base else Path(f"/tmp/edge_mer-{os.getuid()}")
    path = Path(configured).absolute() if configured else default
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error, "run.directory") from error
    info = path.stat()
    if path.lstat().st_uid != os.getuid() or info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(f"{path} must be yours alone; run: chmod 700 {path}")
    if len(str(path)) > PATH_LIMIT - 20:
        raise ConfigError(f"{path} is too long for a socket path; set run.directory to at most {PATH_LIMIT - 20} bytes")
    return path


class ZmqBus:
    """Sockets of one process; ``directory`` is the runtime directory that all processes of a run share."""

    def __init__(
        self,
        directory: Path,
        clock: Clock | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.directory = directory
        self.clock: Clock = clock or SystemClock()
        self.boot = secrets.token_hex(6)
        self._context = context or zmq.Context()
        self._context.setsockopt(zmq.LINGER, 0)
        self._poller = zmq.Poller()
        self._endpoints: list[_Endpoint] = []
        self._sockets: list[zmq.Socket[bytes]] = []
        self._recorded: list[zmq.Socket[bytes]] = []  # publishers that an awaited reader may read

    def publisher(self, topic: str, source: str) -> Publisher:
        row = SERVICES[topic]
        is_recorded = row.logged == "default"
        socket = self._socket(zmq.XPUB if row.on_request or is_recorded else zmq.PUB)
        socket.setsockopt(zmq.SNDHWM, row.high_water_mark)
        endpoint = self._bind(socket, topic)
        if is_recorded:
            self._recorded.append(socket)
        return Publisher(
            topic,
            source,
            self.boot,
            self.clock,
            lambda frames: socket.send_multipart(frames, copy=True),
            lambda: self._close(socket, endpoint),
            _Readers(socket, topic).present if row.on_request else lambda: True,
        )

    def reader(self, *topics: str, awaited: bool = False) -> Reader:
        socket = self._socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, max(SERVICES[t].high_water_mark for t in topics))
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
            socket.connect(self._address(topic))
        if awaited:
            socket.setsockopt(zmq.SUBSCRIBE, AWAITED)
        self._poller.register(socket, zmq.POLLIN)
        return Reader(topics, self.clock, lambda: _receive(socket), lambda: self._close(socket))

    def server(self, endpoint: str) -> Server:
        socket = self._socket(zmq.ROUTER)
        bound = self._bind(socket, f"{endpoint}.rel")
        self._poller.register(socket, zmq.POLLIN)
        return Server(
            lambda peer, frames: _send(socket, [peer, *frames]),
            lambda: _receive(socket),
            lambda: self._close(socket, bound),
        )

    def client(self, endpoint: str) -> Client:
        socket = self._socket(zmq.DEALER)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.connect(self._address(f"{endpoint}.rel"))
        self._poller.register(socket, zmq.POLLIN)
        return Client(lambda frames: _send(socket, frames), lambda: _receive(socket), lambda: self._close(socket))

    def secure_server(
        self, address: str, keys: tuple[bytes, bytes], admit: Callable[[str], bool], max_bytes: int
    ) -> CurveServer:
        """A ROUTER over TCP with CURVE. Raises ConfigError when the address cannot be bound."""
        socket, zap = self.socket(zmq.ROUTER), self.socket(zmq.REP)
        return CurveServer(socket, zap, address, keys, admit, partial(self.release, socket, zap), max_bytes)

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """A socket outside the bus's endpoints, as for TCP listeners; ``wait`` ends when it is readable."""
        socket = self._socket(kind)
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def release(self, *sockets: zmq.Socket[bytes]) -> None:
        for socket in sockets:
            self._close(socket)

    def settle(self, awaited: bool = False) -> None:
        """Wait until readers have connected to new publishers, so that all of them receive the first message.

        ``awaited``: there is a reader which must not miss one, a recorder: wait for it, but not for ever.
        """
        time.sleep(SETTLE_S)
        deadline = time.monotonic() + AWAITED_S
        for socket in self._recorded if awaited else ():
            while (left := deadline - time.monotonic()) > 0 and socket.poll(int(left * 1000)):
                if socket.recv() == b"\x01" + AWAITED:
                    break

    def wait(self, timeout_us: int, *wake: int) -> None:
        for fd in wake:
            self._poller.register(fd, zmq.POLLIN)
        try:
            self._poller.poll(max(0, -(-timeout_us // 1000)))
        finally:
            for fd in wake:
                self._poller.unregister(fd)

    def close(self) -> None:
        for socket in list(self._sockets):
            self._close(socket)
        for endpoint in self._endpoints:
            endpoint.release()
        self._endpoints.clear()
        self._context.destroy(linger=0)  # also what a listener's connections are watched with

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        return socket

    def _address(self, name: str) -> str:
        path = self.directory / name.replace("/", ".")
        if len(str(path)) > PATH_LIMIT:
            raise ConfigError(f"{path} is too long for a socket path (at most {PATH_LIMIT} bytes)")
        return f"ipc://{path}"

    def _bind(self, socket: zmq.Socket[bytes], name: str) -> _Endpoint:
        endpoint = _Endpoint(self.directory / name.replace("/", "."))
        self._endpoints.append(endpoint)
        socket.bind(self._address(name))
        return endpoint

    def _close(self, socket: zmq.Socket[bytes], endpoint: _Endpoint | None = None) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)
            if socket in self._recorded:
                self._recorded.remove(socket)
            if socket in self._poller:
                self._poller.unregister(socket)
            socket.close(linger=0)
        if endpoint is not None:
            endpoint.release()


class _Readers:
    """Whether the topic of an XPUB socket has subscribers; ZeroMQ removes those that have ended."""

    def __init__(self, socket: zmq.Socket[bytes], topic: str) -> None:
        self._socket, self._topic = socket, topic.encode()
        self._matching: set[bytes] = set()

    def present(self) -> bool:
        while (frames := _receive(self._socket)) is not None:
            joined, prefix = frames[0][:1] == b"\x01", frames[0][1:]
            if self._topic.startswith(prefix):
                (self._matching.add if joined else self._matching.discard)(prefix)
        return bool(self._matching)


class _Endpoint:
    """A socket path held by a lock, because ZeroMQ would replace a path that is in use without an error."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, path.with_name(path.name + ".lock")
        self._fd: int | None = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode().strip()
            os.close(self._fd)
            raise EndpointInUse(
                f"{path} is owned by process {holder}; stop it, or choose another run.directory"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def _send(socket: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    """Whether the frames were sent: not to a peer that has ended or whose queue is full."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.ZMQError:
        return False
    return True


def _receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    if not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:  # ten times faster than the exception below
        return None
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
