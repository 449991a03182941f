"""A supervisor on the in-memory bus with a fake clock and processes that a test controls."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_mer.bus import Client, MemoryBroker, MemoryBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Heartbeat
from edge_mer.contract.messages import HealthReport, WorkerHealth
from edge_mer.host.processes import ProcessRow
from edge_mer.host.supervisor import Supervisor


def always(config: Config) -> bool:
    return True


ROWS = (
    ProcessRow("recorder", "stand_in", always, "extra", stop_stage=1),
    ProcessRow("switch", "stand_in", always, "core"),
    ProcessRow("fusion", "stand_in", always, "core"),
    ProcessRow("microphone", "stand_in", always, "sensor", retry_s=10),
    ProcessRow("hub", "stand_in", always, "extra", memory_mb=300),
)


@dataclass
class FakeProcess:
    name: str
    pid: int
    clock: FakeClock
    stage: FakeLauncher
    fd: int = -1
    code: int | None = None
    obeys: bool = True

    def ended(self) -> int | None:
        return self.code

    def end(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self.stage.ends.append((self.name, code))

    def terminate(self) -> None:
        if self.obeys:
            self.end(0)

    def kill(self) -> None:
        self.end(-9)

    def usage(self) -> tuple[float, int]:
        return 0.25, 1_000_000


@dataclass
class FakeLauncher:
    clock: FakeClock
    living: dict[str, FakeProcess] = field(default_factory=dict)
    starts: list[tuple[str, int]] = field(default_factory=list)
    ends: list[tuple[str, int]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    def start(self, name: str, module: str) -> FakeProcess:
        if self.broken:
            raise OSError("no more processes")
        self.starts.append((name, self.clock.now_us()))
        self.living[name] = FakeProcess(name, 100 + len(self.starts), self.clock, self)
        return self.living[name]

    def last_error(self, name: str) -> str | None:
        return self.errors.get(name)

    def trim_logs(self) -> None:
        return None


class Stage:
    """``run`` lets time pass with the workers of ``beating`` alive; ``health`` is from the last report."""

    def __init__(self, rows: tuple[ProcessRow, ...] = ROWS) -> None:
        self.clock, self.broker = FakeClock(), MemoryBroker()
        self.launcher = FakeLauncher(self.clock)
        self.switch = MemoryBus(self.broker, self.clock).server("switch")
        self.bus = MemoryBus(self.broker, self.clock)
        self.supervisor = Supervisor(rows, self.bus, self.launcher)
        self._others = MemoryBus(self.broker, self.clock)
        self.reader = self._others.reader("health", "clock")
        self._beats: Client = self._others.client("supervisor")
        self.beating = {row.name for row in rows}
        self.reports: list[HealthReport] = []

    def beat(self, name: str, **counters: int) -> None:
        process = self.launcher.living.get(name)
        if process is not None and process.code is None:
            self._beats.send(
                Heartbeat(
                    name=name,
                    boot=f"boot{process.pid}",
                    pid=process.pid,
                    created_us=self.clock.now_us(),
                    counters=counters,
                )
            )

    def run(self, seconds: float = 0.0) -> None:
        for _ in range(max(1, round(seconds * 10))):
            for name in sorted(self.beating):
                self.beat(name)
            self.supervisor.turn()
            self.reports += [m.body for m in self.reader.drain() if isinstance(m.body, HealthReport)]
            if seconds:
                self.clock.advance(SECOND // 10)

    def health(self, name: str) -> WorkerHealth:
        return self.reports[-1].workers[name]

    def starts(self, name: str) -> list[int]:
        return [at for started, at in self.launcher.starts if started == name]
