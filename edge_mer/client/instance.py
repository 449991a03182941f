"""Start, find and stop one edge_mer instance."""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError, EdgeMerError, EndpointInUse
from edge_mer.host.files import state_path, write_atomic
from edge_mer.host.launcher import SystemProcess, keep_last_logs, last_error, log_directory
from edge_mer.host.state_lock import in_use, is_held, last_holder

LONGEST_DIRECTORY = 48
STOP_S = 2.5
CONFIG = "config.json"


class NotRunning(EdgeMerError):
    """Nothing runs in the runtime directory."""


class Instance:
    """A supervisor started by this command, in its own process, so that a blocked terminal does not delay it."""

    def __init__(self, config: Config, directory: Path) -> None:
        """Raises EndpointInUse when an instance already runs there, or elsewhere with the same state directory."""
        if (pid := owner(directory)) is not None:
            raise EndpointInUse(
                f"edge_mer already runs in {directory} (process {pid}); stop it, or choose another run.directory"
            )
        state = state_path(config.privacy.state)
        holder = last_holder(state)
        if is_held(state) or (holder is not None and owner(Path(holder.runtime)) is not None):
            raise EndpointInUse(in_use(state, holder))
        self.directory = directory
        self._logs = log_directory(config)
        keep_last_logs(self._logs)
        resolved = config.model_dump_json().encode()
        write_atomic(directory / CONFIG, resolved)
        self.process = SystemProcess.start(
            "supervisor",
            "edge_mer.host.supervisor",
            directory,
            resolved,
            signal.SIGTERM,
            self._logs,
        )

    def check(self) -> None:
        """Raises EdgeMerError when the supervisor has ended by itself."""
        if (code := self.process.ended()) is not None:
            log = self._logs / "supervisor.jsonl"
            raise EdgeMerError(f"the supervisor ended (exit code {code}): {last_error(log) or 'its log has no error'}")

    def stop(self) -> None:
        """Stop all processes within 2 s, and kill those that do not end."""
        (self.directory / CONFIG).unlink(missing_ok=True)
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


def find_instances(directory: Path | None, config: Path | None = None) -> tuple[Path, ...]:
    """The runtime directories of this user's running instances, the configured one first; ``directory`` names one.

    The lock in the state directory leads to an instance too, whatever XDG_RUNTIME_DIR is now. Root also finds that of
    the user who called sudo. Raises NotRunning when there is none.
    """
    found: list[Path] = []
    refusal: ConfigError | None = None
    try:
        place = _configured(directory, config)
        found.append(place)
    except ConfigError as error:
        refusal = error
    if directory is None:
        found += _by_lock(state_path(load(config)[0].privacy.state), os.getuid())
        if os.geteuid() == 0 and (caller := os.environ.get("SUDO_UID", "")).isdigit():
            found += _by_lock(_home_state(int(caller)), int(caller))
    running = tuple(dict.fromkeys(p for p in found if owner(p) is not None))
    if not running:
        raise refusal or NotRunning(f"nothing is running in {place}; start it with: edge-mer run")
    return running


def find_instance(directory: Path | None, config: Path | None = None) -> Path:
    """The runtime directory of the running instance, the configured one first. Raises NotRunning when there is none."""
    return find_instances(directory, config)[0]


def _configured(directory: Path | None, config: Path | None) -> Path:
    if directory is not None and os.geteuid() == 0 and directory.is_dir():
        return directory.absolute()  # root may command the instance of any user
    return runtime_directory(str(directory) if directory else load(config)[0].run.directory)


def _by_lock(state: Path, uid: int) -> list[Path]:
    """The runtime directory that the lock of a state directory names, if it is that user's alone."""
    if (holder := last_holder(state)) is None:
        return []
    place = Path(holder.runtime)
    try:
        info = place.lstat()
    except OSError:
        return []
    is_private = stat.S_ISDIR(info.st_mode) and info.st_uid == uid and not stat.S_IMODE(info.st_mode) & 0o077
    return [place] if is_private else []


def _home_state(uid: int) -> Path:
    try:
        return Path(pwd.getpwuid(uid).pw_dir) / ".local/state/edge_mer"
    except KeyError:
        return Path("/nonexistent")


def running_config(directory: Path) -> Config | None:
    """The configuration that the instance in this runtime directory was started with; None where none is left."""
    try:
        return Config.model_validate_json((directory / CONFIG).read_bytes())
    except (OSError, ValueError):
        return None


@contextmanager
def connected(directory: Path | None, config: Path | None = None) -> Iterator[ZmqBus]:
    """A bus of the running instance. Raises NotRunning when there is none."""
    bus = ZmqBus(find_instance(directory, config))
    try:
        yield bus
    finally:
        bus.close()
