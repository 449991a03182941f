"""What every worker process does: one loop of turns, a heartbeat, a clean end on SIGTERM."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from edge_mer.bus import Bus, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Heartbeat

_PR_SET_DUMPABLE = 4
HEARTBEAT_US = SECOND // 4
# On 2 cores one thread per process is the fast setting, and the exact one.
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FFMPEG_THREADS": "1",
}


class Worker(Protocol):
    """A small daemon: ``turn`` does everything that is ready and says when it must be called again at the latest."""

    def turn(self) -> int:
        """One turn; returns the longest wait in microseconds until the next. Never raises for a bad message."""
        ...

    @property
    def wake(self) -> tuple[int, ...]:
        """File descriptors that end the wait, beside the bus's own sockets."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Drops, gaps, overflows: whatever was lost is counted here."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Noted(Protocol):
    """A worker with something to say that health should show."""

    @property
    def notes(self) -> tuple[str, ...]: ...


class Stop:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def run(name: str, worker: Worker, bus: Bus, stop: Stop) -> None:
    """Take turns until asked to stop; tell the supervisor four times a second that turns still end."""
    supervisor = bus.client("supervisor")
    due = 0
    while not stop.asked:
        wait = worker.turn()
        now = bus.clock.now_us()
        if now >= due:
            due = now + HEARTBEAT_US
            counters = {k: v for k, v in worker.counters.items() if v}
            notes = worker.notes if isinstance(worker, Noted) else ()
            supervisor.send(
                Heartbeat(name=name, boot=bus.boot, pid=os.getpid(), created_us=now, counters=counters, notes=notes)
            )
        if not stop.asked:
            bus.wait(min(wait, due - now), *worker.wake)
    worker.close()


def setup_logging(name: str) -> None:
    """Structured logs: one JSON object per line on stderr."""

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            entry = {
                "t": round(record.created, 3),
                "worker": name,
                "level": record.levelname.lower(),
                "message": record.getMessage(),
            }
            if record.exc_info:
                entry["error"] = self.formatException(record.exc_info)
            return json.dumps(entry)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=os.environ.get("EDGE_MER_LOG", "WARNING").upper(), handlers=[handler], force=True)


def keep_memory_private() -> None:
    """Neither a core file nor a debugger of this user gets what this process holds (``man 2 prctl``)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def main() -> None:
    """``python -m edge_mer.host.worker NAME MODULE[:ARGUMENT] DIRECTORY``; the resolved config comes as JSON on
    standard input.

    The module offers ``build(config, bus) -> Worker``; an argument is its third.
    """
    name, entry, directory = sys.argv[1:4]
    module, *argument = entry.split(":")
    keep_memory_private()
    setup_logging(name)
    stop = Stop()
    config = Config.model_validate_json(sys.stdin.buffer.read())
    bus = ZmqBus(Path(directory))
    try:
        worker: Worker = import_module(module).build(config, bus, *argument)
        bus.settle()
        run(name, worker, bus, stop)
    except Exception:
        logging.getLogger(name).exception("worker failed")
        sys.exit(1)
    finally:
        bus.close()


if __name__ == "__main__":
    main()
