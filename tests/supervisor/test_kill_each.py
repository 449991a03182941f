"""Kill -9 of every real worker, one after the other, in the running application."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_mer.bus import Reader, ZmqBus
from edge_mer.cli.demo import demo_config
from edge_mer.cli.instance import Instance
from edge_mer.clock import SECOND
from edge_mer.messages import Estimate, HealthReport

pytestmark = pytest.mark.end_to_end
DEADLINE_US = 20 * SECOND
Wanted = Callable[[HealthReport], bool]


def wait_for(bus: ZmqBus, reader: Reader, wanted: Wanted) -> tuple[HealthReport, int]:
    """The first report that is as wanted, and when it was made."""
    deadline = bus.clock.now_us() + DEADLINE_US
    while (left := deadline - bus.clock.now_us()) > 0:
        bus.wait(left)
        for message in reader.drain():
            if isinstance(message.body, HealthReport) and wanted(message.body):
                return message.body, message.envelope.created_us
    raise AssertionError("health did not come to say what was expected")


def all_run(report: HealthReport) -> bool:
    return all(w.state == "running" for w in report.workers.values())


def test_each_is_back_within_two_seconds_and_no_other_is_disturbed() -> None:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as place:
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        instance, bus = Instance(demo_config(Path(place), None, None, {}), directory), ZmqBus(directory)
        try:
            health, emotion = bus.reader("health"), bus.reader("emotion")
            report, _ = wait_for(bus, health, all_run)
            for name in sorted(set(report.workers) - {"supervisor"}):
                before = {n: w.pid for n, w in report.workers.items()}
                killed = bus.clock.now_us()
                os.kill(before[name] or 0, signal.SIGKILL)
                wait_for(bus, health, lambda r, n=name: r.workers[n].state == "restarting")  # type: ignore[misc]
                report, back = wait_for(bus, health, all_run)
                after = {n: w.pid for n, w in report.workers.items()}
                assert back - killed <= 2 * SECOND, f"{name} was back after {(back - killed) / 1e6:.1f} s"
                assert {n for n in after if after[n] != before[n]} == {name}
            emotion.drain()
            deadline = bus.clock.now_us() + DEADLINE_US
            while not any(isinstance(m.body, Estimate) for m in emotion.drain()):
                assert bus.clock.now_us() < deadline, "estimates go on"
                health.drain()
                bus.wait(SECOND)
        finally:
            instance.stop()
            bus.close()
        assert [p.name for p in directory.iterdir()] == ["log"]
