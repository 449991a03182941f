"""Start, find and stop one edge_mer instance."""

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

LONGEST_DIRECTORY = 48
STOP_S = 2.5


class NotRunning(EdgeMerError):
    """Nothing runs in the runtime directory."""


class Instance:
    """A supervisor started by this command, in its own process, so that a blocked terminal does not delay it."""

    def __init__(self, config: Config, directory: Path) -> None:
        """Raises EndpointInUse when an instance already runs there."""
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
            raise EdgeMerError(f"the supervisor ended (exit code {code}): {last_error(log) or 'its log has no error'}")

    def stop(self) -> None:
        """Stop all processes within 2 s, and kill those that do not end."""
        self.process.terminate()
        if self.process.wait(STOP_S) is None:
            self.process.kill()
            self.process.wait(STOP_S)


def temporary_place() -> tempfile.TemporaryDirectory[str]:
    """A temporary directory for an instance. Its path is short, because socket paths are at most 107 bytes."""
    default = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(prefix="edge_mer_", dir=default if len(default) <= LONGEST_DIRECTORY else "/tmp")


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
    runtime = runtime_directory(str(directory) if directory else load(config)[0].run.directory)
    if owner(runtime) is None:
        raise NotRunning(f"nothing is running in {runtime}; start it with: edge-mer run")
    return runtime


@contextmanager
def connected(directory: Path | None, config: Path | None = None) -> Iterator[ZmqBus]:
    """A bus of the running instance. Raises NotRunning when there is none."""
    bus = ZmqBus(find_instance(directory, config))
    try:
        yield bus
    finally:
        bus.close()
