"""One edge_mer instance as the command line sees it: start it, find it, stop it."""

from __future__ import annotations

import fcntl
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.config import Config, load
from edge_mer.contract.errors import EdgeMerError, EndpointInUse
from edge_mer.host.launcher import SystemProcess, last_error, log_directory

LONGEST_PLACE = 48
STOP_S = 2.5


class NotRunning(EdgeMerError):
    """Nothing runs in the runtime directory."""


class Instance:
    """A supervisor that this command started, in a process of its own: a blocked terminal holds up nothing."""

    def __init__(self, config: Config, directory: Path) -> None:
        """Raises EndpointInUse when an instance runs there already."""
        if (pid := owner(directory)) is not None:
            raise EndpointInUse(
                f"edge_mer already runs in {directory} (process {pid}); stop it, or choose another run.directory"
            )
        self.directory = directory
        self.process = SystemProcess.start(
            "supervisor", "edge_mer.host.supervisor", directory, config.model_dump_json().encode(), signal.SIGTERM
        )

    def check(self) -> None:
        """Raises EdgeMerError when the supervisor has ended by itself."""
        if (code := self.process.ended()) is not None:
            log = log_directory(self.directory) / "supervisor.jsonl"
            raise EdgeMerError(f"the supervisor ended (exit code {code}): {last_error(log) or 'it said nothing'}")

    def stop(self) -> None:
        """Ends everything within 2 s; what does not end is killed."""
        self.process.terminate()
        if self.process.wait(STOP_S) is None:
            self.process.kill()
            self.process.wait(STOP_S)


def temporary_place() -> tempfile.TemporaryDirectory[str]:
    """A directory for an instance that leaves nothing behind; short, because socket paths are at most 107 bytes."""
    usual = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(prefix="edge_mer_", dir=usual if len(usual) <= LONGEST_PLACE else "/tmp")


def owner(directory: Path) -> str | None:
    """Process id of the supervisor that holds this runtime directory, or None."""
    try:
        with (directory / "supervisor.rel.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except OSError:
        return (directory / "supervisor.rel.lock").read_text().strip() or "unknown"
    return None


def find_instance(directory: Path | None, config: Path | None = None) -> Path:
    """The runtime directory of the running instance. Raises NotRunning when there is none."""
    place = runtime_directory(str(directory) if directory else load(config)[0].run.directory)
    if owner(place) is None:
        raise NotRunning(f"nothing is running in {place}; start it with: edge-mer run")
    return place


@contextmanager
def connected(directory: Path | None, config: Path | None = None) -> Iterator[ZmqBus]:
    """A bus into the running instance. Raises NotRunning when there is none."""
    bus = ZmqBus(find_instance(directory, config))
    try:
        yield bus
    finally:
        bus.close()
