"""The supervisor on fake processes and a fake clock."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Exited, Heartbeat
from edge_mer.contract.messages import ClockReport
from edge_mer.host.processes import ProcessRow, always
from edge_mer.host.supervisor import MOST_GUESTS
from edge_mer.host.worker import OUT_OF_MEMORY
from tests.host.stage import ROWS, Stage


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.run(1)
    return stage


def test_it_starts_every_row_in_the_order_of_the_table(stage: Stage) -> None:
    assert [name for name, _ in stage.launcher.starts] == [row.name for row in ROWS]


def test_a_process_first_starts_when_the_one_that_it_needs_runs() -> None:
    page = ProcessRow("page", "stand_in", always, "extra", after="switch")
    stage = Stage((page, *ROWS))
    stage.beating -= {"switch"}
    stage.run(3)
    assert stage.starts("page") == []
    stage.beating |= {"switch"}
    stage.run(0.5)
    assert len(stage.starts("page")) == 1
    stage.launcher.living["switch"].kill()
    stage.launcher.living["page"].kill()
    stage.beating -= {"switch"}
    stage.run(1)
    assert len(stage.starts("page")) == 2, "a restart waits for nothing"


def test_a_process_counts_as_running_after_its_first_turn() -> None:
    stage = Stage()
    stage.beating = set()
    stage.run(0.1)
    assert stage.health("fusion").state == "starting"
    stage.beating = {"fusion"}
    stage.run(0.2)
    assert stage.health("fusion").state == "running"


def test_a_killed_process_restarts_at_once_and_health_reports_it(stage: Stage) -> None:
    before = stage.clock.now_us()
    stage.launcher.living["fusion"].kill()
    stage.run()
    assert stage.health("fusion").state == "restarting"
    assert stage.health("fusion").reason == "ended by SIGKILL"
    stage.run(0.5)
    assert stage.starts("fusion")[-1] - before <= SECOND // 2
    assert stage.health("fusion").state == "running"
    assert stage.health("fusion").restarts == 1


def test_other_processes_are_not_restarted(stage: Stage) -> None:
    stage.launcher.living["microphone"].kill()
    stage.run(5)
    assert {name: len(stage.starts(name)) for name in ("recorder", "switch", "fusion")} == {
        "recorder": 1,
        "switch": 1,
        "fusion": 1,
    }


def test_a_hung_worker_is_killed_and_restarted(stage: Stage) -> None:
    stage.beating -= {"microphone"}
    stage.run(2)
    assert ("microphone", -9) in stage.launcher.ends
    assert "hung" in str(stage.health("microphone").reason)
    assert len(stage.starts("microphone")) == 2


def test_a_slow_start_does_not_count_as_hung() -> None:
    stage = Stage()
    stage.beating -= {"fusion"}
    stage.run(15)
    assert len(stage.starts("fusion")) == 1
    stage.run(10)
    assert "not ready" in str(stage.health("fusion").reason)


def test_a_heartbeat_of_an_earlier_process_does_not_count(stage: Stage) -> None:
    stage.beating -= {"fusion"}
    beats, pid = stage.bus.client("supervisor"), stage.launcher.living["fusion"].pid
    for _ in range(20):
        beats.send(Heartbeat(name="fusion", boot="earlier", pid=pid + 1000, created_us=0, counters={}))
        stage.run(0.1)
    assert len(stage.starts("fusion")) == 2


def test_a_pause_of_the_supervisor_kills_no_worker(stage: Stage) -> None:
    stage.clock.advance(30 * SECOND)
    stage.supervisor.turn()
    assert stage.launcher.ends == []


def test_restarts_back_off(stage: Stage) -> None:
    stage.beating -= {"fusion"}
    for _ in range(80):
        stage.launcher.living["fusion"].kill()
        stage.run(0.1)
    gaps = [b - a for a, b in pairwise(stage.starts("fusion"))]
    assert gaps[1:] == sorted(gaps[1:])
    assert gaps[-1] >= 2 * SECOND


def _storm(stage: Stage, name: str) -> None:
    stage.beating -= {name}
    while stage.supervisor.children[name].state != "failed":
        stage.launcher.living[name].end(1)
        stage.run(0.1)


def test_more_than_five_restarts_in_a_minute_pause_the_process(stage: Stage) -> None:
    stage.launcher.errors["fusion"] = "no model file"
    _storm(stage, "fusion")
    assert len(stage.starts("fusion")) == 6
    assert (stage.health("fusion").state, stage.health("fusion").reason) == ("failed", "no model file")
    stage.run(30)
    assert len(stage.starts("fusion")) == 6
    stage.run(40)
    assert len(stage.starts("fusion")) == 7


def test_a_sensor_pauses_for_a_shorter_time(stage: Stage) -> None:
    _storm(stage, "microphone")
    tried = len(stage.starts("microphone"))
    stage.run(12)
    assert len(stage.starts("microphone")) == tried + 1


def test_a_failed_start_is_reported_and_repeated(stage: Stage) -> None:
    stage.launcher.broken = True
    stage.launcher.living["fusion"].kill()
    stage.run(2)
    assert stage.health("fusion").reason == "cannot be started: no more processes"
    stage.launcher.broken = False
    stage.run(3)
    assert stage.health("fusion").state == "running"


def test_a_restarting_switch_is_notified_of_an_ended_process(stage: Stage) -> None:
    boot = f"boot{stage.launcher.living['microphone'].pid}"
    stage.switch.close()
    stage.launcher.living["microphone"].kill()
    stage.run(2)
    restarted = stage._others.server("switch")
    stage.run(2)
    received = restarted.receive()
    assert received is not None
    assert received[1] == Exited(name="microphone", boot=boot)


def test_health_is_published_once_a_second_with_usage_and_counters(stage: Stage) -> None:
    stage.reports.clear()
    for _ in range(50):
        stage.beat("fusion", gap=3)
        stage.beating -= {"fusion"}
        stage.run(0.1)
    assert len(stage.reports) == 5
    assert stage.health("fusion").counters == {"gap": 3}
    assert stage.health("fusion").cpu == 0.25
    assert stage.health("supervisor").pid is not None


def test_the_clock_topic_gives_wall_time_from_monotonic_time(stage: Stage) -> None:
    report = Stage()
    report.supervisor.turn()
    (message,) = [m for m in report.reader.drain() if isinstance(m.body, ClockReport)]
    assert message.body.offset_us + report.clock.now_us() == report.clock.wall_us()
    assert message.body.uncertainty_us >= 1


def test_stopping_ends_the_recorder_last_and_everything_within_two_seconds(stage: Stage) -> None:
    stage.launcher.living["fusion"].obeys = False
    began = stage.clock.now_us()
    stage.supervisor.close()
    assert stage.launcher.ends[-1] == ("recorder", 0)
    assert ("fusion", -9) in stage.launcher.ends
    assert len(stage.launcher.ends) == len(ROWS)
    assert stage.clock.now_us() - began < 2 * SECOND


def test_corrupt_and_foreign_heartbeats_are_ignored(stage: Stage) -> None:
    stage.broker.servers["supervisor"].append((b"x", b"{"))
    foreign = Heartbeat(name="fusion", boot="x", pid=1, created_us=0, counters={"stolen": 1})
    stage.bus.client("supervisor").send(foreign)
    stage.run(1)
    assert stage.supervisor.counters["bad"] == 1
    assert "stolen" not in stage.health("fusion").counters


def test_a_guest_worker_is_reported_while_alive_and_never_started(stage: Stage) -> None:
    beat = Heartbeat(name="record-7", boot="b", pid=7, created_us=0, counters={}, notes=("with raw audio",))
    stage.bus.client("supervisor").send(beat)
    stage.run(1.2)
    assert stage.health("record-7").notes == ("with raw audio",)
    stage.run(2.2)
    assert "record-7" not in stage.reports[-1].workers
    assert "record-7" not in {name for name, _ in stage.launcher.starts}


def test_the_number_of_guest_workers_is_bounded(stage: Stage) -> None:
    client = stage.bus.client("supervisor")
    for n in range(1000):
        client.send(Heartbeat(name=f"noise{n}", boot="b", pid=n, created_us=0, counters={}))
    stage.run(1.2)
    assert len(stage.reports[-1].workers) <= len(ROWS) + MOST_GUESTS + 1


@pytest.mark.parametrize(
    ("code", "line"),
    [(OUT_OF_MEMORY, "out of memory"), (-6, "FATAL ERROR: OUT OF MEMORY (src/msg.cpp:93)"), (-6, "std::bad_alloc")],
)
def test_a_process_at_its_memory_limit_is_named_and_restarted(stage: Stage, code: int, line: str) -> None:
    stage.run(1)
    hub = stage.launcher.living["hub"]
    stage.launcher.errors["hub"] = line
    hub.end(code)
    stage.run(0.1)
    assert stage.health("hub").reason == "reached its limit of 300 MB of memory; a client may send too much"
    stage.run(1)
    assert len(stage.starts("hub")) == 2
