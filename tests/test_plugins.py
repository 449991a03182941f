"""An installed package of others is found, listed and run; it opens no device without a lease and leaks nothing.

The package lies in tests/toy_package, as pip leaves it in site-packages; each test runs where it is on the path.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import HealthReport, SensorState
from edge_mer.contract.plugins import ENCODERS, GROUPS, OUTLETS, installed_plugins, load_plugin
from edge_mer.privacy.consent_setup import agree

PACKAGE = Path(__file__).parent / "toy_package"
PATIENCE_US = 90 * SECOND


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE), str(PACKAGE.parents[1])]))
    yield
    for name in ("toy_package", "toy_row"):
        sys.modules.pop(name, None)


def test_every_group_is_found_without_importing_the_package() -> None:
    assert {p.package for group in GROUPS for p in installed_plugins(group).values()} >= {"toy-package 1.0"}
    assert "door_display" in installed_plugins(OUTLETS)
    assert "toy_package" not in sys.modules


def test_a_name_that_nobody_registers_and_a_broken_one_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no installed package registers 'nothing' in edge_mer\.encoders"):
        load_plugin(ENCODERS, "nothing")
    with pytest.raises(ConfigError, match=r"broken of toy-package 1\.0 cannot be loaded"):
        load_plugin(OUTLETS, "broken")


def edge_mer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_mer.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def test_doctor_lists_what_is_installed_and_what_is_broken(tmp_path: Path) -> None:
    found = edge_mer("doctor", XDG_STATE_HOME=str(tmp_path)).stdout
    for line in (
        "ok  encoder zeros of toy-package 1.0",
        "ok  outlet door_display of toy-package 1.0",
        "ok  recogniser parrot of toy-package 1.0",
        "ok  source tone of toy-package 1.0",
        "NO  broken of toy-package 1.0 cannot be loaded",
    ):
        assert line in found


def test_a_recogniser_of_a_package_may_be_configured() -> None:
    assert edge_mer("config", "--set", "text.engine=parrot").returncode == 0
    refused = edge_mer("config", "--set", "text.engine=cuckoo")
    assert refused.returncode == 3
    assert "parrot" in refused.stderr


class Running:
    """A real instance with plug-ins, everything else off."""

    def __init__(self, place: Path, plugins: dict[str, Any]) -> None:
        self.config = Config.model_validate(
            {
                "video": {"source": "off"},
                "text": {"source": "off"},
                "privacy": {"state": str(place / "state")},
                "plugins": plugins,
            }
        )
        agree(self.config.privacy.state, ("audio",), "Anna", datetime.date.today())
        directory = place / "run"
        directory.mkdir(mode=0o700)
        self.instance = Instance(self.config, directory)
        self.bus = ZmqBus(directory)
        self.states, self.health = self.bus.reader("state/audio"), self.bus.reader("health")
        self.raw = self.bus.reader("raw/audio")
        self.heard = 0

    def wait(self, reached: Any) -> Any:
        """The first state or health report for which ``reached`` is true."""
        deadline = self.bus.clock.now_us() + PATIENCE_US
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.instance.check()
            self.heard += len(self.raw.drain())
            for message in (*self.states.drain(), *self.health.drain()):
                if reached(message.body):
                    return message.body
            self.bus.wait(min(left, SECOND // 10))
        raise AssertionError("not reached in time")

    def stop(self) -> None:
        self.bus.close()
        self.instance.stop()


@pytest.fixture
def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the outlet of the package writes."""
    monkeypatch.setenv("TOY_DISPLAY", str(tmp_path / "emotion.json"))
    return tmp_path / "emotion.json"


@pytest.fixture
def running(request: pytest.FixtureRequest, display: Path) -> Iterator[Running]:
    with temporary_place() as place:
        found = Running(Path(place), request.param)
        try:
            yield found
        finally:
            found.stop()


@pytest.mark.end_to_end
@pytest.mark.parametrize("running", [{"sources": {"audio": "tone"}, "encoders": {"audio": "zeros"}}], indirect=True)
def test_a_source_captures_under_a_lease_and_is_masked_with_a_receipt(running: Running) -> None:
    closed = running.wait(lambda body: isinstance(body, SensorState))
    assert closed.gate == "masked"
    assert closed.device == "tone"
    assert running.heard == 0, "it captured before anybody unmasked it"
    with SwitchClient.on_bus(running.bus) as switch:
        assert switch.unmask("audio").ok
        running.wait(lambda body: isinstance(body, SensorState) and body.gate == "live" and body.health == "ok")
        running.wait(lambda body: running.heard > 0)
        answer = switch.mask("audio")
        assert answer.ok, answer.text
        assert answer.receipts


@pytest.mark.end_to_end
@pytest.mark.parametrize("running", [{"sources": {"audio": "eager"}}], indirect=True)
def test_a_source_that_opens_a_device_by_itself_is_ended(running: Running) -> None:
    def ended(body: object) -> bool:
        worker = body.workers.get("plugin.audio") if isinstance(body, HealthReport) else None
        return worker is not None and worker.reason is not None and "without a lease" in worker.reason

    report = running.wait(ended)
    assert "/dev/full is open without a lease" in report.workers["plugin.audio"].reason
    assert running.heard == 0


@pytest.mark.end_to_end
@pytest.mark.parametrize("running", [{"outlets": ["door_display", "thief"]}], indirect=True)
def test_an_outlet_runs_and_one_that_wants_raw_sound_does_not(running: Running, display: Path) -> None:
    def refused(body: object) -> bool:
        worker = body.workers.get("outlet.thief") if isinstance(body, HealthReport) else None
        return worker is not None and "requests raw/audio" in (worker.reason or "")

    running.wait(refused)
    running.wait(lambda body: isinstance(body, HealthReport) and body.workers["outlet.door_display"].state == "running")
    running.wait(lambda body: display.exists() and display.read_bytes().count(b"\n") > 2)
    schemas = {json.loads(line)["schema"] for line in display.read_bytes().splitlines()}
    assert schemas <= {"edge_mer.emotion/1", "edge_mer.privacy/1"}
