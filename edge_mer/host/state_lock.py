"""One switch per state directory: a lock that names its holder, and by which commands find a running instance."""

from __future__ import annotations

import datetime
import fcntl
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_mer.contract.errors import EndpointInUse

FILE = "switch.lock"
# A command that only looks holds the lock for an instant.
TRIES, PAUSE_S = 20, 0.01


class Holder(Struct, frozen=True):
    """Who took the lock last. ``runtime``: the runtime directory of its instance."""

    pid: int
    runtime: str
    since: str


class StateLock:
    """Held until ``close``, or until its process ends. The file stays."""

    def __init__(self, directory: Path, runtime: Path) -> None:
        """Raises EndpointInUse that names the process which holds it."""
        path = directory / FILE
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if not self._take():
            os.close(self._fd)
            raise EndpointInUse(in_use(directory, last_holder(directory)))
        since = datetime.datetime.now().isoformat(" ", "seconds")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(Holder(os.getpid(), str(runtime), since)), 0)

    def _take(self) -> bool:
        for attempt in range(TRIES):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(PAUSE_S if attempt < TRIES - 1 else 0)
            else:
                return True
        return False

    def close(self) -> None:
        os.close(self._fd)


def last_holder(directory: Path) -> Holder | None:
    """Who took the lock last, whether or not it still runs."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_held(directory: Path) -> bool:
    try:
        with (directory / FILE).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def in_use(directory: Path, holder: Holder | None) -> str:
    who = f"process {holder.pid} in {holder.runtime}, since {holder.since}" if holder is not None else "another process"
    return f"a switch already uses the privacy state in {directory}: {who}; stop it, or choose another privacy.state"
