"""The supervisor over real processes: killed, hung, and stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import HealthReport, Message, SensorState, WorkerHealth
from edge_mer.host.launcher import SystemProcess
from tests.host.tiny import hang

pytestmark = pytest.mark.end_to_end
DEADLINE_US = 20 * SECOND


class Running:
    """A supervisor process and a reader of its and its worker's topics."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        config = Config.model_validate({"privacy": {"state": str(directory / "state")}})
        self.process = SystemProcess.start(
            "supervisor",
            "tests.host.tiny_supervisor",
            directory,
            config.model_dump_json().encode(),
            signal.SIGTERM,
            directory,
        )
        self.bus = ZmqBus(directory)
        self._reader = self.bus.reader("health", "state/audio")

    def until(self, wanted: Callable[[Message[Any]], bool]) -> Message[Any]:
        deadline = self.bus.clock.now_us() + DEADLINE_US
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.bus.wait(left)
            for message in self._reader.drain():
                if wanted(message):
                    return message
        raise AssertionError("no such message within the deadline")

    def worker(self, name: str, wanted: Callable[[WorkerHealth], bool]) -> WorkerHealth:
        message = self.until(lambda m: isinstance(m.body, HealthReport) and wanted(m.body.workers[name]))
        found: WorkerHealth = message.body.workers[name]
        return found

    def beating(self, boot_not: str = "") -> Message[SensorState]:
        return self.until(lambda m: isinstance(m.body, SensorState) and m.envelope.boot != boot_not)

    def ended(self) -> int:
        code = self.process.wait(DEADLINE_US / SECOND)
        assert code is not None, "the supervisor did not end"
        return code


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    directory = runtime_directory(str(tmp_path / "run"))
    running = Running(directory)
    try:
        yield running
    finally:
        if running.process.ended() is None:
            running.process.kill()
            running.ended()
        running.bus.close()


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _pid(worker: WorkerHealth) -> int:
    assert worker.pid is not None
    return worker.pid


def test_a_killed_worker_publishes_again_within_two_seconds(running: Running) -> None:
    worker = running.worker("tiny", lambda w: w.state == "running")
    state = running.beating()
    killed = running.bus.clock.now_us()
    os.kill(_pid(worker), signal.SIGKILL)
    assert running.worker("tiny", lambda w: w.state != "running").reason == "ended by SIGKILL"
    back = running.beating(boot_not=state.envelope.boot)
    assert back.envelope.created_us - killed <= 2 * SECOND
    assert not is_alive(int(state.body.device)), "a child of the killed worker is alive"


def test_a_hung_worker_is_replaced(running: Running) -> None:
    state = running.beating()
    running.worker("tiny", lambda w: w.state == "running")
    hang(running.directory)
    assert "hung" in str(running.worker("tiny", lambda w: w.state == "restarting").reason)
    assert running.beating(boot_not=state.envelope.boot)


def test_health_reports_why_a_process_cannot_start(running: Running) -> None:
    worker = running.worker("lost", lambda w: w.reason is not None)
    assert "no_such_module" in str(worker.reason)


@pytest.mark.parametrize("hung", [False, True], ids=["working", "hung"])
def test_sigterm_leaves_no_child_and_no_socket_file_within_two_seconds(running: Running, hung: bool) -> None:
    worker = running.worker("tiny", lambda w: w.state == "running")
    if hung:
        hang(running.directory)
        running.until(lambda m: not (running.directory / "hang").exists())
    began = running.bus.clock.now_us()
    running.process.terminate()
    assert running.ended() == 0
    assert running.bus.clock.now_us() - began <= 2 * SECOND
    assert not is_alive(_pid(worker))
    assert [p.name for p in running.directory.iterdir() if p.suffix != ".jsonl" and p.name != "state"] == []


def test_workers_end_with_a_killed_supervisor(running: Running) -> None:
    worker = running.worker("tiny", lambda w: w.state == "running")
    child = psutil.Process(_pid(worker))
    running.process.kill()
    running.ended()
    try:
        child.wait(timeout=60)
    except psutil.TimeoutExpired:
        pytest.fail("the worker outlived its supervisor")
