"""Starts, watches and cleans up after real worker processes; tests use a fake."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from edge_mer.config import Config
from edge_mer.contract.errors import EdgeMerError
from edge_mer.host.files import state_directory
from edge_mer.host.readable import readable
from edge_mer.host.worker import THREADS

LOG_BYTES = 1_000_000
TAIL_BYTES = 16_000
LEAST_ROOM = 4096
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Process(Protocol):
    """One started process. ``fd`` is readable once it has ended."""

    @property
    def pid(self) -> int: ...

    @property
    def fd(self) -> int: ...

    def ended(self) -> int | None:
        """Exit code (negative: the signal), or None while it runs. When it is returned, the children have ended too."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def usage(self) -> tuple[float, int]:
        """CPU as a share of one core since the last call, and resident bytes."""
        ...


class Launcher(Protocol):
    def start(self, name: str, entry: str) -> Process:
        """``entry`` as ``ProcessRow.entry``. Raises OSError when the host cannot start it."""
        ...

    def last_error(self, name: str) -> str | None:
        """The last log entry of the process before it ended, in one line."""
        ...

    def trim_logs(self) -> None: ...


def log_directory(config: Config) -> Path:
    """``log`` in the state directory, where logs outlive a logout and a restart."""
    path = state_directory(config.privacy.state) / "log"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def keep_last_logs(logs: Path) -> None:
    """At a start, ``NAME.jsonl`` of the last run becomes ``NAME.jsonl.1``, so that its errors are not taken for new."""
    for path in logs.glob("*.jsonl"):
        path.replace(path.with_name(f"{path.name}.1"))


class SystemLauncher:
    """Worker processes of one runtime directory. Each logs JSON lines to a file in ``log_directory``, at most 1 MB."""

    def __init__(self, directory: Path, config: Config) -> None:
        self._directory, self._config = directory, config.model_dump_json().encode()
        self._logs = log_directory(config)

    def start(self, name: str, entry: str) -> SystemProcess:
        return SystemProcess.start(name, entry, self._directory, self._config, signal.SIGKILL, self._logs)

    def last_error(self, name: str) -> str | None:
        return last_error(self._logs / f"{name}.jsonl")

    def trim_logs(self) -> None:
        for path in self._logs.glob("*.jsonl"):
            with suppress(OSError):
                if path.stat().st_size > LOG_BYTES:
                    os.truncate(path, 0)  # writers append, so they continue at the start


class SystemProcess:
    """A worker in its own session: a Ctrl-C in the terminal reaches only the supervisor."""

    def __init__(self, popen: subprocess.Popen[bytes], directory: Path) -> None:
        self._popen, self._directory = popen, directory
        self.pid = popen.pid
        self.fd = os.pidfd_open(popen.pid)
        self._code: int | None = None
        self._usage: psutil.Process | None = None

    @classmethod
    def start(
        cls, name: str, entry: str, directory: Path, config: bytes, death: signal.Signals, logs: Path
    ) -> SystemProcess:
        """``death``: the signal that it receives when its parent process dies. It logs to ``logs/NAME.jsonl``."""
        log = os.open(logs / f"{name}.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        stdin = os.memfd_create("config", os.MFD_CLOEXEC)
        try:
            os.write(stdin, config)
            os.lseek(stdin, 0, os.SEEK_SET)
            popen = subprocess.Popen(
                [sys.executable, "-m", "edge_mer.host.worker", name, entry, str(directory)],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **THREADS},
                preexec_fn=die_with_parent(death),
            )
        finally:
            os.close(stdin)
            os.close(log)
        return cls(popen, directory)

    def ended(self) -> int | None:
        if self._code is None and _has_ended(self.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # its children; its id is not reused before wait
            self._code = self._popen.wait()
            os.close(self.fd)
            remove_sockets(self._directory, self.pid)
        return self._code

    def wait(self, timeout_s: float) -> int | None:
        """Exit code once it has ended, None at the timeout."""
        if self._code is None:
            readable(self.fd, timeout_s)
        return self.ended()

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._code is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, number)  # Popen.send_signal would reap it

    def usage(self) -> tuple[float, int]:
        try:
            self._usage = self._usage or psutil.Process(self.pid)
            return self._usage.cpu_percent() / 100, self._usage.memory_info().rss
        except psutil.Error:
            return 0.0, 0


def die_with_parent(death: signal.Signals) -> Callable[[], None]:
    """For ``preexec_fn``: the kernel sends ``death`` to the new process when this one ends."""
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, death)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def remove_sockets(directory: Path, pid: int) -> None:
    """Remove the sockets of a process that was killed."""
    for lock in directory.glob("*.lock"):
        with suppress(OSError, ValueError):
            if int(lock.read_text()) == pid:
                lock.with_name(lock.name.removesuffix(".lock")).unlink(missing_ok=True)
                lock.unlink(missing_ok=True)


def last_error(log: Path) -> str | None:
    """The last warning or error of a log file, in one line: the typed error where there is one."""
    for line in reversed(tail(log)):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            return line[:500]
        if entry.get("level") in ("debug", "info"):
            continue
        trace = str(entry.get("error", "")).strip().splitlines()
        text = trace[-1] if trace else str(entry.get("message", line))
        return _without_module(text)[:500]
    return f"the disk of {log.parent} is full; make room, or set privacy.state to another place" if full(log) else None


def full(path: Path) -> bool:
    """Whether the disk of ``path`` is full."""
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize < LEAST_ROOM


def tail(log: Path) -> list[str]:
    """The last lines of a log file, oldest first."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return []


def _without_module(text: str) -> str:
    """``…errors.DeviceError: no microphone`` becomes ``no microphone``: typed errors need no type name."""
    kind, _, words = text.partition(": ")
    ours = {f"{e.__module__}.{e.__name__}" for e in _kinds(EdgeMerError)}
    return words if kind in ours and words else text


def _kinds(error: type[EdgeMerError]) -> Iterator[type[EdgeMerError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _kinds(kind)
