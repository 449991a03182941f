"""One switch per state directory, and instances that are found whatever XDG_RUNTIME_DIR says."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance, NotRunning, find_instances
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError, EndpointInUse
from edge_mer.host.files import state_directory
from edge_mer.host.state_lock import StateLock, is_held, last_holder
from edge_mer.privacy.switch.switch import build


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as name:
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(variable, f"{name}/{variable}")
        yield Path(name)


def test_a_second_lock_names_the_process_and_runtime_directory_of_the_first(tmp_path: Path) -> None:
    lock = StateLock(tmp_path, Path("/run/first"))
    assert is_held(tmp_path)
    with pytest.raises(EndpointInUse, match=rf"process {os.getpid()} in /run/first, since 20\d\d.*privacy\.state"):
        StateLock(tmp_path, Path("/run/second"))
    lock.close()
    assert not is_held(tmp_path)
    StateLock(tmp_path, Path("/run/second")).close()
    assert last_holder(tmp_path) is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_a_damaged_lock_file_holds_nothing_and_names_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "switch.lock").write_bytes(content)
    assert last_holder(tmp_path) is None
    StateLock(tmp_path, Path("/run/first")).close()


def test_a_second_switch_and_a_second_run_are_refused(place: Path) -> None:
    config = Config.model_validate({"privacy": {"state": str(place / "state")}})
    buses = []
    for name in ("first", "second"):
        (place / name).mkdir(mode=0o700)
        buses.append(ZmqBus(place / name))
    switch = build(config, buses[0])
    refusal = rf"process {os.getpid()} in {re.escape(str(place / 'first'))}"
    with pytest.raises(EndpointInUse, match=refusal):
        build(config, buses[1])
    with pytest.raises(EndpointInUse, match=refusal):
        Instance(config, place / "second")
    switch.close()
    for bus in buses:
        bus.close()


def test_an_instance_in_another_runtime_directory_is_found_by_the_lock(place: Path) -> None:
    with pytest.raises(NotRunning, match="nothing is running"):
        find_instances(None)
    (place / "other").mkdir(mode=0o700)
    bus = ZmqBus(place / "other")
    bus.server("supervisor")
    lock = StateLock(state_directory(), place / "other")
    assert find_instances(None) == (place / "other",)
    assert find_instances(place / "other") == (place / "other",)
    (place / "other").chmod(0o755)
    with pytest.raises(NotRunning):
        find_instances(None)
    lock.close()
    bus.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory of root")
def test_a_state_directory_of_root_is_refused_with_its_cure(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "state").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 65534)
    with pytest.raises(ConfigError, match=rf"belongs to root.*sudo chown -R \w+ {place / 'state'}"):
        state_directory(str(place / "state"))
