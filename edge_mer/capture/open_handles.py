"""Handles of this process, as the kernel lists them in /proc/self/fd: they prove that a device is closed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress

# Suffix of the bus's own endpoints (bus.zeromq), to which every process is connected.
BUS_ENDING = ".rel"


def open_files(*beginnings: str) -> list[str]:
    """Open files whose path begins with one of ``beginnings``."""
    return [target for _, target in listed() if target.startswith(beginnings)]


def network_connections() -> list[str]:
    """TCP and UDP sockets: the peer of each, or "no peer"."""
    return [peer or "no peer" for peer, family in _sockets() if family in (socket.AF_INET, socket.AF_INET6)]


def local_connections() -> list[str]:
    """Paths of the Unix sockets that this process is connected to, except the bus: a sound server or camera service."""
    found = [peer for peer, family in _sockets() if family == socket.AF_UNIX]
    return [peer for peer in found if peer and not peer.endswith(BUS_ENDING)]


def shut_network_sockets() -> None:
    """Shut down every TCP connection of this process, so that a read that waits for the network returns at once.

    Only a network stream has one: the bus of this host uses Unix sockets.
    """
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as twin:
                    if twin.family in (socket.AF_INET, socket.AF_INET6) and twin.type == socket.SOCK_STREAM:
                        twin.shutdown(socket.SHUT_RDWR)


def listed() -> Iterator[tuple[int, str]]:
    """Every descriptor of this process and its target."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            yield int(name), os.readlink(f"/proc/self/fd/{name}")


def _sockets() -> Iterator[tuple[str, int]]:
    """Name of the peer ("" if none) and family of every socket."""
    for fd, _ in listed():
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as twin:
                yield _peer(twin), twin.family


def _peer(twin: socket.socket) -> str:
    try:
        peer = twin.getpeername()
    except OSError:
        return ""
    return str(peer[0]) if isinstance(peer, tuple) else os.fsdecode(peer)
