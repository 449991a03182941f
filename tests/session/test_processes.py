"""Recorder, player and fusion node as real processes with the shipped model: what they record verifies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_mer.bench.busy import busy
from edge_mer.bench.soak_replay import recorded
from edge_mer.bus import ZmqBus
from edge_mer.config import Config, ModelsConfig
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ModelError
from edge_mer.fusion.model import FusionModel, load_fusion_model
from edge_mer.runtime.select import models_directory, open_backend
from edge_mer.session.process_replay import replay_in_process
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import installed
from edge_mer.session.verifier import verify
from tests.session.stage import Home

DEADLINE_US = 20_000_000
INPUTS = tuple(f"{kind}/{m}" for m in MODALITIES for kind in ("feature", "state"))

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def model() -> FusionModel:
    settings = ModelsConfig()
    try:
        return load_fusion_model(open_backend(settings), models_directory(settings.directory))
    except ModelError as error:
        pytest.skip(f"no shipped models: {error}")


class Processes:
    """Workers in a runtime directory with a path short enough for sockets."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.running = directory, dict[str, subprocess.Popen[bytes]]()
        self.bus = ZmqBus(directory)

    def start(self, name: str, module: str, config: Config) -> None:
        command = [sys.executable, "-m", "edge_mer.host.worker", name, module, str(self.directory)]
        self.running[name] = subprocess.Popen(command, stdin=subprocess.PIPE)
        pipe = self.running[name].stdin
        assert pipe is not None
        pipe.write(config.model_dump_json().encode())
        pipe.close()

    def stop(self, name: str) -> int:
        self.running[name].send_signal(signal.SIGTERM)
        return self.running.pop(name).wait(timeout=20)

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        self.bus.close()


@pytest.fixture
def processes() -> Iterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="em") as directory:
        started = Processes(Path(directory))
        yield started
        started.close()


def test_a_session_played_to_a_live_fusion_node_is_recorded_and_verifies(
    processes: Processes, model: FusionModel, tmp_path: Path
) -> None:
    home = Home(tmp_path / "source.mcap", seed=1, model=model)
    for _ in range(40):
        home.step()
    source, again = home.finish(), tmp_path / "again.mcap"
    config = Config.model_validate(
        {"record": {"path": str(again), "encrypt": False}, "replay": {"path": str(source), "topics": INPUTS}}
    )
    results = processes.bus.reader("emotion")
    played = processes.bus.reader(*INPUTS)
    processes.start("recorder", "edge_mer.session.recorder", config)
    wait_for(processes.bus, again.exists)
    processes.start("fusion", "edge_mer.fusion.node", config)
    wait_for(processes.bus, lambda: bool(results.drain()))
    processes.start("player", "edge_mer.session.player", config)
    total = len(list(Session(source).messages(*INPUTS)))
    received = 0

    def everything() -> bool:
        nonlocal received
        received += len(played.drain())
        return received == total

    wait_for(processes.bus, everything)
    assert [processes.stop(name) for name in ("player", "fusion", "recorder")] == [0, 0, 0]
    report = verify(again, installed(Config()))
    assert (report.identical, report.reason) == (True, None)
    assert report.results > 8
    combinations = {m.body.combination for m in Session(again).messages("emotion")}
    assert "none" in combinations
    assert len(combinations) > 1


def test_application_replays_on_an_idle_and_on_a_busy_machine(model: FusionModel) -> None:
    """Record the real application, then replay through sockets and processes. ``soak replay`` runs this for longer."""
    with recorded(6) as (path, config):
        report = verify(path, installed(config))
        assert (report.identical, report.reason) == (True, None)
        assert report.features > 30
        masked = {m.body.presence["audio"].state for m in Session(path).messages("emotion")}
        assert {"present", "masked"} <= masked
        for burners in (0, 2 * (os.cpu_count() or 1)):
            with busy(burners):
                outcome = replay_in_process(path, config, 1.0)
            assert outcome.identical, outcome


def wait_for(bus: ZmqBus, done: Callable[[], bool]) -> None:
    end = bus.clock.now_us() + DEADLINE_US
    while not done():
        assert bus.clock.now_us() < end, "timed out"
        bus.wait(50_000)
