"""systemd's notification protocol, against a socket in the place of systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_mer.contract.messages import HealthReport, WorkerHealth
from edge_mer.host.service_manager import CORE, ServiceManager

RUNS = WorkerHealth("running", 1, 0, 0, None, 0.0, 0, {})
STARTS = msgspec.structs.replace(RUNS, state="starting")


class FakeSystemd:
    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.address)

    def received(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(1000).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[FakeSystemd]:
    fake = FakeSystemd(tmp_path / "notify")
    yield fake
    fake.close()


def health(**states: WorkerHealth) -> HealthReport:
    return HealthReport(workers=dict.fromkeys(CORE, RUNS) | states)


def test_it_is_ready_once_all_core_processes_run(systemd: FakeSystemd) -> None:
    manager = ServiceManager(systemd.address)
    manager.turn(0, None)
    manager.turn(0, health(fusion=STARTS))
    assert systemd.received() == ["STATUS=waits for fusion"]
    manager.turn(1, health(camera=STARTS))
    manager.turn(2, health())
    assert systemd.received() == ["READY=1", "STATUS=runs"]


def test_the_watchdog_is_fed_three_times_a_period_while_health_is_reported(systemd: FakeSystemd) -> None:
    manager = ServiceManager(systemd.address, 3_000_000)
    for second in range(6):
        manager.turn(second * 500_000, health())
    assert systemd.received().count("WATCHDOG=1") == 3


def test_the_watchdog_is_not_fed_when_the_supervisor_reports_nothing_new(systemd: FakeSystemd) -> None:
    manager, report = ServiceManager(systemd.address, 3_000_000), health()
    for second in range(20):
        manager.turn(second * 1_000_000, report)
    assert systemd.received().count("WATCHDOG=1") == 1


def test_the_variables_of_the_protocol_are_not_inherited(systemd: FakeSystemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000", "WATCHDOG_PID": str(os.getpid()), "A": ""}
    ServiceManager.from_environment(environment).stopping()
    assert environment == {"A": ""}
    assert systemd.received() == ["STOPPING=1"]


def test_a_watchdog_of_another_process_is_not_fed(systemd: FakeSystemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"}
    ServiceManager.from_environment(environment).turn(0, health())
    assert "WATCHDOG=1" not in systemd.received()


def test_without_a_service_manager_nothing_is_sent() -> None:
    manager = ServiceManager.from_environment({})
    manager.turn(0, health())
    manager.stopping()


def test_a_service_manager_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "nobody")).turn(0, health())
