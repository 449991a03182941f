"""The supervisor: starts the processes of the table, detects those that end or hang, restarts them, publishes health.

It is itself a worker (``build`` below), so
``python -m edge_mer.host.worker supervisor edge_mer.host.supervisor DIRECTORY`` is a complete edge_mer.
Topics: ``health`` (once a second, and at once when something changed) and ``clock``.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from edge_mer.bus import Bus, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, Clock, host_boot_id
from edge_mer.contract.control import Exited, Heartbeat
from edge_mer.contract.messages import ClockReport, HealthReport, WorkerHealth
from edge_mer.contract.plain_text import visible
from edge_mer.contract.visible_fields import visible_fields
from edge_mer.host.launcher import Launcher, Process, SystemLauncher
from edge_mer.host.limits import out_of_memory
from edge_mer.host.processes import ProcessRow, rows_for
from edge_mer.host.worker import OUT_OF_MEMORY

NAME = "supervisor"
log = logging.getLogger(NAME)
MOST_GUESTS = 16
# What ZeroMQ and C++ write before they abort.
NO_MEMORY = ("OUT OF MEMORY", "bad_alloc", "Cannot allocate memory")
WorkerState = Literal["starting", "running", "restarting", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in microseconds. ``hung_us``: a worker without a heartbeat for so long is killed. ``notify_us``: how
    long the switch is notified of an ended process."""

    hung_us: int = 3 * SECOND // 2
    start_us: int = 20 * SECOND
    storm_us: int = 60 * SECOND
    storm_restarts: int = 5
    backoff_us: int = SECOND // 4
    terminate_us: int = 900_000
    report_us: int = SECOND
    notify_us: int = 10 * SECOND


@dataclass
class WatchedProcess:
    """One process of the table and its history. ``ends`` are the times at which it recently ended."""

    row: ProcessRow
    state: WorkerState = "starting"
    process: Process | None = None
    boot: str | None = None
    since_us: int = 0
    heartbeat_us: int | None = None
    due_us: int = 0
    restarts: int = 0
    storms: int = 0
    reason: str | None = None
    killed_for: str | None = None
    counters: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ends: deque[int] = field(default_factory=lambda: deque(maxlen=16))


class Supervisor:
    """A worker whose ``close`` stops all others. No thread: everything happens in ``turn``."""

    def __init__(
        self, rows: tuple[ProcessRow, ...], bus: Bus, launcher: Launcher, limits: Limits | None = None
    ) -> None:
        self._bus, self._clock, self._launcher = bus, bus.clock, launcher
        self._limits = limits or Limits()
        self._server = bus.server(NAME)
        self._switch = bus.client("switch")
        self._health = bus.publisher("health", NAME)
        self._report = bus.publisher("clock", NAME)
        self._boot_id = host_boot_id()
        self._own = psutil.Process()
        self._usage: dict[str, tuple[float, int]] = {}
        self._notices: dict[Exited, int] = {}
        self._published_states: dict[str, tuple[WorkerState, int]] = {}
        self._report_due = 0
        self._turned_us = self._clock.now_us()
        self.counters: Counter[str] = Counter()
        self.children = {row.name: WatchedProcess(row) for row in rows}
        # Workers that were started elsewhere and send heartbeats, as the recorder of ``edge-mer record``.
        self._guests: dict[str, tuple[int, Heartbeat]] = {}

    @property
    def wake(self) -> tuple[int, ...]:
        """Readable when a child ends."""
        return tuple(c.process.fd for c in self.children.values() if c.process is not None and c.process.fd >= 0)

    def start(self) -> None:
        """Start what must not wait, so that processes load while the bus settles before the first turn."""
        for child in self.children.values():
            self._check(child, self._clock.now_us())

    def turn(self) -> int:
        now = self._clock.now_us()
        self._receive_heartbeats()
        self._extend_deadlines(now)
        for child in self.children.values():
            self._check(child, now)
        if now >= self._report_due:
            self._report_due = now + self._limits.report_us
            self._notify_switch(now)
            self._publish_clock()
            self._launcher.trim_logs()
            self._publish_health(now, measure=True)
        elif self._states() != self._published_states:
            self._notify_switch(now)
            self._publish_health(now)
        return self._wait_us(now)

    def close(self) -> None:
        """Stop every process, the recorder last; whatever does not end in time is killed. Takes less than 2 s."""
        for stage in sorted({c.row.stop_stage for c in self.children.values()}):
            self._stop([c for c in self.children.values() if c.row.stop_stage == stage])
        self._publish_health(self._clock.now_us())
        self._server.close()

    # -- watching the children ------------------------------------------------------------------------------------

    def _receive_heartbeats(self) -> None:
        while (received := self._server.receive()) is not None:
            beat = received[1]
            if not isinstance(beat, Heartbeat):
                continue
            if (child := self.children.get(beat.name)) is None:
                self._register_guest(beat)
                continue
            if child.process is None:
                continue
            if beat.pid == child.process.pid:
                child.heartbeat_us, child.boot, child.counters = self._clock.now_us(), beat.boot, beat.counters
                child.notes = tuple(map(visible, beat.notes))
                if child.state == "starting":
                    child.state, child.reason = "running", None
                    log.info("%s runs", beat.name)
        self.counters["bad"] = self._server.bad

    def _register_guest(self, beat: Heartbeat) -> None:
        if beat.name in self._guests or len(self._guests) < MOST_GUESTS:
            self._guests[visible(beat.name)] = self._clock.now_us(), visible_fields(beat)

    def _extend_deadlines(self, now: int) -> None:
        """After a pause of the supervisor itself, extend the deadlines of the heartbeats that it did not receive."""
        pause = now - self._turned_us - SECOND // 2
        self._turned_us = now
        if pause > 0:
            self.counters["pause"] += 1
            for child in self.children.values():
                child.since_us += pause
                child.heartbeat_us = None if child.heartbeat_us is None else child.heartbeat_us + pause

    def _check(self, child: WatchedProcess, now: int) -> None:
        if child.process is None:
            if now >= child.due_us and not self._must_wait(child):
                self._start(child, now)
            return
        if (code := child.process.ended()) is not None:
            self._reap(child, code, now)
        elif (reason := self._hang_reason(child, now)) is not None:
            child.killed_for = reason
            child.process.kill()

    def _must_wait(self, child: WatchedProcess) -> bool:
        """Whether it has never run, and waits for a process that does not run yet."""
        first = self.children.get(child.row.after or "")
        return first is not None and first.boot is None and not child.ends

    def _hang_reason(self, child: WatchedProcess, now: int) -> str | None:
        """Why a process counts as hung; None when it does not."""
        if child.heartbeat_us is None:
            waited = now - child.since_us
            return f"not ready after {waited / 1e6:.0f} s" if waited > self._limits.start_us else None
        waited = now - child.heartbeat_us
        return f"hung: no turn ended for {waited / 1e6:.1f} s" if waited > self._limits.hung_us else None

    def _start(self, child: WatchedProcess, now: int) -> None:
        child.boot, child.heartbeat_us, child.since_us, child.killed_for = None, None, now, None
        child.counters, child.notes = {}, ()
        try:
            child.process = self._launcher.start(child.row.name, child.row.entry)
        except OSError as error:
            self._reap(child, 0, now, f"cannot be started: {error}")
            return
        if child.state != "starting":
            child.restarts += 1
        child.state = "starting"

    def _reap(self, child: WatchedProcess, code: int, now: int, reason: str | None = None) -> None:
        """Handle the end of a process: notify the switch, find the reason, and set the time of its restart."""
        if child.boot is not None and child.row.name != "switch":
            self._notices[Exited(name=child.row.name, boot=child.boot)] = now + self._limits.notify_us
        child.process = None
        child.reason = visible(reason or child.killed_for or self._explain(child, code))
        child.ends.append(now)
        while child.ends[0] <= now - self._limits.storm_us:
            child.ends.popleft()
        if now - child.since_us > self._limits.storm_us:
            child.storms = 0
        if len(child.ends) > self._limits.storm_restarts:
            child.storms += 1
            child.state = "failed"
            child.due_us = now + round(child.row.retry_s * SECOND) * min(child.storms, 5)
        else:
            child.state = "restarting"
            doublings = len(child.ends) - 2
            child.due_us = now + (self._limits.backoff_us * 2**doublings if doublings >= 0 else 0)
        log.warning("%s is %s: %s", child.row.name, child.state, child.reason)

    def _explain(self, child: WatchedProcess, code: int) -> str:
        limit_mb = child.row.memory_mb
        if limit_mb is not None and self._ran_out_of_memory(child, code):
            return out_of_memory(limit_mb)
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return self._launcher.last_error(child.row.name) or f"exit code {code}"

    def _ran_out_of_memory(self, child: WatchedProcess, code: int) -> bool:
        """Python exits with a code of its own; ZeroMQ and C++ abort, with a last line that names the cause."""
        last = self._launcher.last_error(child.row.name) or ""
        return code == OUT_OF_MEMORY or (code == -signal.SIGABRT and any(text in last for text in NO_MEMORY))

    # -- publishing ----------------------------------------------------------------------------------------------

    def _notify_switch(self, now: int) -> None:
        """Repeated for ``notify_us``, because the switch may itself be restarting."""
        for notice, until in list(self._notices.items()):
            self._switch.send(notice)
            if now >= until:
                del self._notices[notice]

    def _states(self) -> dict[str, tuple[WorkerState, int]]:
        return {name: (c.state, c.restarts) for name, c in self.children.items()}

    def _publish_health(self, now: int, measure: bool = False) -> None:
        self._published_states = self._states()
        if measure:
            self._usage = {n: c.process.usage() for n, c in self.children.items() if c.process is not None}
            self._usage[NAME] = (self._own.cpu_percent() / 100, self._own.memory_info().rss)
        workers = {name: self._worker_health(name, child, now) for name, child in self.children.items()}
        self._guests = {n: (at, b) for n, (at, b) in self._guests.items() if now - at < self._limits.hung_us}
        for name, (at, beat) in self._guests.items():
            workers[name] = WorkerHealth("running", beat.pid, 0, now - at, None, 0.0, 0, beat.counters, beat.notes)
        cpu, rss = self._usage.get(NAME, (0.0, 0))
        workers[NAME] = WorkerHealth("running", os.getpid(), 0, 0, None, cpu, rss, dict(self.counters))
        self._health.send(HealthReport(workers=workers), origin_us=now)

    def _worker_health(self, name: str, child: WatchedProcess, now: int) -> WorkerHealth:
        cpu, rss = self._usage.get(name, (0.0, 0)) if child.process is not None else (0.0, 0)
        return WorkerHealth(
            state=child.state,
            pid=child.process.pid if child.process is not None else None,
            restarts=child.restarts,
            age_us=None if child.heartbeat_us is None else now - child.heartbeat_us,
            reason=child.reason,
            cpu=cpu,
            rss=rss,
            counters=child.counters,
            notes=child.notes,
        )

    def _publish_clock(self) -> None:
        offset, uncertainty = wall_offset(self._clock)
        report = ClockReport(boot_id=self._boot_id, offset_us=offset, uncertainty_us=uncertainty)
        self._report.send(report, origin_us=self._clock.now_us())

    def _wait_us(self, now: int) -> int:
        due = [self._report_due]
        for child in self.children.values():
            if child.process is None:
                if not self._must_wait(child):  # else a heartbeat ends the wait
                    due.append(child.due_us)
            elif child.heartbeat_us is None:
                due.append(child.since_us + self._limits.start_us)
            else:
                due.append(child.heartbeat_us + self._limits.hung_us)
        return max(0, min(due) - now)

    # -- stopping ------------------------------------------------------------------------------------------------

    def _stop(self, children: list[WatchedProcess]) -> None:
        left = {c.row.name: c.process for c in children if c.process is not None}
        for process in left.values():
            process.terminate()
        deadline, killed = self._clock.now_us() + self._limits.terminate_us, False
        while left:
            left = {name: p for name, p in left.items() if p.ended() is None}
            now = self._clock.now_us()
            if left and now >= deadline and not killed:
                killed = True
                for process in left.values():
                    process.kill()
            if left:
                self._receive_heartbeats()
                self._bus.wait(SECOND // 50 if killed else deadline - now, *(p.fd for p in left.values() if p.fd >= 0))
        for child in children:
            child.state, child.process = "stopped", None


def wall_offset(clock: Clock) -> tuple[int, int]:
    """Microseconds to add to monotonic time for wall time, and its uncertainty: the best of three samples."""
    samples = []
    for _ in range(3):
        before, wall, after = clock.now_us(), clock.wall_us(), clock.now_us()
        samples.append((after - before, wall - (before + after) // 2))
    width, offset = min(samples)
    return offset, width // 2 + 1


def build(config: Config, bus: Bus) -> Supervisor:
    assert isinstance(bus, ZmqBus)
    supervisor = Supervisor(rows_for(config), bus, SystemLauncher(Path(bus.directory), config))
    supervisor.start()
    return supervisor
