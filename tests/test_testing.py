"""The pytest plug-in as users run it: in a separate pytest run, by fixture name only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_mer.contract.clock import FakeClock
from edge_mer.testing import Stage
from tests.session.golden import GOLDEN
from tests.session.stage import read_all, remade, rewrite

USERS_TEST = f'''
def test_lamp(replay_session):
    replayed = replay_session("{GOLDEN}")
    results = list(replayed.messages("emotion", "person", "people", "event"))
    assert len(results) == replayed.report.results > 40
    times = [m.envelope.created_us for m in replayed.messages("emotion", "state/audio", "feature/audio")]
    assert times == sorted(times)

def test_bus(session_stage, fake_clock):
    received = []
    began = fake_clock.now_us()
    session_stage.faults.drop("emotion", 0.5)
    session_stage.listen("emotion", received.append)
    session_stage.play("{GOLDEN}", topics=("emotion",))
    dropped = session_stage.faults.done["emotion dropped"]
    assert 5 < dropped < 60
    assert fake_clock.now_us() - began > 10_000_000
    assert received

def test_forged(replay_session, tmp_path):
    replay_session("FORGED")
'''


def test_fixtures_work_by_name_and_a_forged_session_fails(tmp_path: Path) -> None:
    forged = rewrite(
        GOLDEN,
        tmp_path / "forged.mcap",
        lambda messages: [
            remade(m, confidence=0.5) if m.topic == "emotion" and m.envelope.seq == 20 else m for m in messages
        ],
    )
    (tmp_path / "test_user.py").write_text(USERS_TEST.replace("FORGED", str(forged)))
    command = [sys.executable, "-m", "pytest", "-p", "edge_mer.testing", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=110)
    assert run.returncode == 1, run.stdout
    assert "1 failed, 2 passed" in run.stdout
    assert "does not replay" in run.stdout
    assert "confidence: recorded 0.5" in run.stdout


def test_plug_in_is_declared_as_entry_point() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\n"edge_mer.testing" = "edge_mer.testing"' in text


class TestFaults:
    @pytest.fixture
    def stage(self) -> Stage:
        return Stage(FakeClock())

    def send(self, stage: Stage, count: int = 200) -> None:
        recorded = read_all(GOLDEN, "state/audio")[0]
        publisher = stage.bus("worker").publisher("state/audio", "gate")
        for _ in range(count):
            publisher.send(recorded.body, origin_us=0)
            stage.run(0.001)

    def test_nothing_is_lost_without_faults(self, stage: Stage) -> None:
        received: list[object] = []
        reader = stage.listen("state/audio", received.append)
        self.send(stage)
        assert len(received) == 200
        assert not +reader.counters

    def test_dropped_messages_are_counted_as_gaps(self, stage: Stage) -> None:
        received: list[object] = []
        reader = stage.listen("state/audio", received.append)
        stage.faults.drop("state/audio", 0.3)
        self.send(stage)
        assert len(received) == 200 - stage.faults.done["state/audio dropped"]
        assert 30 < stage.faults.done["state/audio dropped"] < 90
        assert reader.counters["gap"] > 0

    def test_corrupted_and_duplicate_messages_are_counted(self, stage: Stage) -> None:
        received: list[object] = []
        reader = stage.listen("state/audio", received.append)
        stage.faults.corrupt("state/audio", 0.5)
        stage.faults.duplicate("state/audio", 0.5)
        self.send(stage)
        assert reader.counters["bad"] > 20
        assert reader.counters["old"] > 20

    def test_delayed_messages_arrive_later(self, stage: Stage) -> None:
        received: list[int] = []
        stage.listen("state/audio", lambda m: received.append(stage.clock.now_us() - m.envelope.created_us))
        stage.faults.delay("state/audio", 2.0)
        self.send(stage, 5)
        assert received == []
        stage.run(3)
        assert len(received) == 5
        assert all(2_000_000 <= age < 2_100_000 for age in received)

    def test_same_seed_gives_the_same_faults(self) -> None:
        def lost() -> list[bool]:
            stage = Stage(FakeClock())
            stage.faults.drop("state/audio", 0.5)
            return [stage.faults._happens("dropped", "state/audio") for _ in range(50)]

        assert lost() == lost()


def test_closed_bus_acts_like_a_killed_worker() -> None:
    stage = Stage(FakeClock())
    bus = stage.bus("worker")
    bus.publisher("state/audio", "gate")
    bus.close()
    assert stage.bus("successor").publisher("state/audio", "gate").boot == "successor"
