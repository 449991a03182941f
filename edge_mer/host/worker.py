"""The main loop of every worker process: turns, heartbeats, a clean end on SIGTERM."""

from __future__ import annotations

import json
import logging
import os
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
from edge_mer.host.limits import limit_memory
from edge_mer.host.processes import memory_limit_mb

HEARTBEAT_US = SECOND // 4
# Exit code of a process that could not get more memory.
OUT_OF_MEMORY = 12
# On 2 cores, one thread per process is fastest, and its results are reproducible.
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FFMPEG_THREADS": "1",
}


class Worker(Protocol):
    """A small daemon: ``turn`` does all work that is ready and returns when it must be called again at the latest."""

    def turn(self) -> int:
        """One turn; returns the longest wait in microseconds until the next. Never raises for a bad message."""
        ...

    @property
    def wake(self) -> tuple[int, ...]:
        """File descriptors that end the wait, beside the bus's own sockets."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts of lost data: drops, gaps, overflows."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class HasNotes(Protocol):
    """A worker with notes for the health report."""

    @property
    def notes(self) -> tuple[str, ...]: ...


class Stop:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, *_: object) -> None:
        self.requested = True


def run(name: str, worker: Worker, bus: Bus, stop: Stop) -> None:
    """Take turns until a stop is requested; send the supervisor a heartbeat four times a second."""
    supervisor = bus.client("supervisor")
    due = 0
    while not stop.requested:
        wait = worker.turn()
        now = bus.clock.now_us()
        if now >= due:
            due = now + HEARTBEAT_US
            counters = {k: v for k, v in worker.counters.items() if v}
            notes = worker.notes if isinstance(worker, HasNotes) else ()
            supervisor.send(
                Heartbeat(name=name, boot=bus.boot, pid=os.getpid(), created_us=now, counters=counters, notes=notes)
            )
        if not stop.requested:
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
    logging.basicConfig(level=os.environ.get("EDGE_MER_LOG", "INFO").upper(), handlers=[handler], force=True)


def main() -> None:
    """``python -m edge_mer.host.worker NAME MODULE[:ARGUMENT] DIRECTORY``; the resolved config comes as JSON on
    standard input.

    The module defines ``build(config, bus) -> Worker``; an argument is its third parameter.
    """
    name, entry, directory = sys.argv[1:4]
    module, *argument = entry.split(":")
    limit_memory(memory_limit_mb(name))
    setup_logging(name)
    stop = Stop()
    config = Config.model_validate_json(sys.stdin.buffer.read())
    bus = ZmqBus(Path(directory))
    try:
        worker: Worker = import_module(module).build(config, bus, *argument)
        bus.settle(awaited=config.record.path is not None)
        run(name, worker, bus, stop)
    except MemoryError:
        logging.getLogger(name).error("out of memory")
        sys.exit(OUT_OF_MEMORY)
    except Exception:
        logging.getLogger(name).exception("worker failed")
        sys.exit(1)
    finally:
        bus.close()


if __name__ == "__main__":
    main()
