"""Kill -9 of every real worker, one after the other, in the running application."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, HealthReport, Message
from edge_mer.demo.config import demo_config

pytestmark = pytest.mark.end_to_end
DEADLINE_US = 20 * SECOND
Wanted = Callable[[HealthReport], bool]


class Health:
    """All health reports in order, none skipped between two calls."""

    def __init__(self, bus: ZmqBus) -> None:
        self._bus, self._reader, self._waiting = bus, bus.reader("health"), deque[Message[Any]]()

    def wait_for(self, wanted: Wanted) -> tuple[HealthReport, int]:
        """The first report that satisfies ``wanted``, and its time."""
        deadline = self._bus.clock.now_us() + DEADLINE_US
        while (left := deadline - self._bus.clock.now_us()) > 0:
            while self._waiting:
                message = self._waiting.popleft()
                if isinstance(message.body, HealthReport) and wanted(message.body):
                    return message.body, message.envelope.created_us
            self._bus.wait(left)
            self._waiting.extend(self._reader.drain())
        raise AssertionError("no health report as expected")


def all_run(report: HealthReport) -> bool:
    return all(w.state == "running" for w in report.workers.values())


def test_each_restarts_within_two_seconds_and_no_other_is_affected() -> None:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as place:
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        instance, bus = Instance(demo_config(Path(place), None, None, {}), directory), ZmqBus(directory)
        try:
            health, emotion = Health(bus), bus.reader("emotion")
            report, _ = health.wait_for(all_run)
            for name in sorted(set(report.workers) - {"supervisor"}):
                before = {n: w.pid for n, w in report.workers.items()}
                killed = bus.clock.now_us()
                os.kill(before[name] or 0, signal.SIGKILL)
                health.wait_for(lambda r, n=name: r.workers[n].state == "restarting")  # type: ignore[misc]
                report, back = health.wait_for(all_run)
                after = {n: w.pid for n, w in report.workers.items()}
                assert back - killed <= 2 * SECOND, f"{name} was back after {(back - killed) / 1e6:.1f} s"
                assert {n for n in after if after[n] != before[n]} == {name}
            emotion.drain()
            deadline = bus.clock.now_us() + DEADLINE_US
            while not any(isinstance(m.body, Estimate) for m in emotion.drain()):
                assert bus.clock.now_us() < deadline, "estimates go on"
                bus.wait(SECOND)
        finally:
            instance.stop()
            bus.close()
        assert list(directory.iterdir()) == []
