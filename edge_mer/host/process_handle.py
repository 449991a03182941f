"""Whether another process of this host has ended, as the kernel says: silence proves nothing.

A pidfd refers to one process for good, and is readable once all its threads have ended. The start time of the number
is read after the pidfd was opened, so that a later process of the same number is not taken for it. Where the kernel has
no pidfd (before Linux 5.3) or refuses it (a seccomp filter), /proc/PID/stat with that start time is read instead.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NamedTuple

from edge_mer.contract.control import ProcessId
from edge_mer.host.readable import readable

STOPPED, ENDED = frozenset("Tt"), frozenset("ZX")


class Stat(NamedTuple):
    """What /proc/PID/stat says of a process: its state letter, number of threads, and start in ticks since boot."""

    state: str
    threads: int
    started: int


class ProcessHandle:
    """One process that was running when it was opened. ``fd`` is readable once it has ended; -1 without a pidfd."""

    def __init__(self, id_: ProcessId, fd: int) -> None:
        self.pid, self.fd = id_.pid, fd
        self._id = id_
        self._ended = False

    @property
    def ended(self) -> bool:
        """All its threads have ended: nothing of its memory is left, and every handle of it is closed."""
        if not self._ended:
            self._ended = readable(self.fd, 0) if self.fd >= 0 else _is_gone(self._id)
        return self._ended

    @property
    def stopped(self) -> bool:
        """SIGSTOP, Ctrl-Z or a debugger holds it: it cannot answer, and keeps what it holds."""
        found = stat_of(self.pid)
        return found is not None and found.started == self._id.started and found.state in STOPPED

    def kill(self) -> None:
        """SIGKILL. Not to a process of another user: that one goes on."""
        with suppress(ProcessLookupError, PermissionError):
            if self.fd >= 0:
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)
            elif not self.ended:
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd, self._ended = -1, True


def process_id(pid: int) -> ProcessId | None:
    """Of a process that runs; None when there is none, or it is hidden from this user."""
    found = stat_of(pid)
    return ProcessId(pid, found.started, _namespace()) if found is not None else None


def this_process() -> ProcessId | None:
    """None without /proc."""
    return process_id(os.getpid())


def open_process(id_: ProcessId | None) -> tuple[ProcessHandle | None, bool]:
    """A handle of a process, and whether it has ended already. Without either, the kernel cannot tell from here."""
    if id_ is None or id_.pid <= 0 or id_.namespace != _namespace():
        return None, False
    fd = -1
    try:
        fd = os.pidfd_open(id_.pid)
    except ProcessLookupError:
        return None, True
    except (OSError, AttributeError):
        pass
    found = stat_of(id_.pid)
    handle = ProcessHandle(id_, fd)
    if found is not None and found.started == id_.started and not handle.ended:
        return handle, False
    ended = found is not None or handle.ended  # another process has its number, or it has ended meanwhile
    handle.close()
    return None, ended


def stat_of(pid: int) -> Stat | None:
    """None when there is no such process, or it is hidden from this user."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return Stat(fields[0], int(fields[17]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def _is_gone(id_: ProcessId) -> bool:
    found = stat_of(id_.pid)
    return found is None or found.started != id_.started or (found.state in ENDED and found.threads <= 1)


def _namespace() -> str:
    """Numbers of processes and their start times hold within these alone."""
    names = []
    for kind in ("pid", "time"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/ns/{kind}"))
    return " ".join(names)
