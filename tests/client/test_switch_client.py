"""SwitchClient with a real switch on real sockets."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_mer.bus import ZmqBus
from edge_mer.client import NoAnswer, SwitchClient, switch_client
from edge_mer.client.instance import NotRunning
from edge_mer.config import Config
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import show_state_directory
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.pairing import Link
from edge_mer.privacy.switch.switch import Switch, build
from tests.switch_bench import TODAY


class Host:
    """A switch that runs in a thread, in a runtime directory that appears to belong to a running instance."""

    def __init__(self, place: Path) -> None:
        self.state, self.runtime = place / "state", place / "run"
        agree(str(self.state), CONSENT_SCOPES, "Anna", TODAY)
        self.runtime.mkdir(mode=0o700)
        self._bus = ZmqBus(self.runtime)
        self._bus.server("supervisor")
        self.switch: Switch = build(Config.model_validate({"privacy": {"state": str(self.state)}}), self._bus)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turns)
        self._thread.start()

    def _turns(self) -> None:
        while not self._stop.is_set():
            self._bus.wait(min(self.switch.turn(), 20_000), *self.switch.wake)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.switch.close()
        self._bus.close()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def host(place: Path) -> Iterator[Host]:
    running = Host(place)
    yield running
    running.close()


def test_client_masks_unmasks_and_reads_receipts(host: Host) -> None:
    with SwitchClient.local(host.runtime, requester="a third party") as switch:
        assert switch.unmask("audio", "video").ok
        answer = switch.mask("audio", for_s=3600)
        assert answer.ok
        states = switch.status().modalities
        receipts = {r.number: r for r in switch.receipts()}
    assert (states["audio"].requested, states["video"].requested) == ("masked", "live")
    assert states["audio"].reason == "masked by a third party"
    assert {receipts[n].modality for n in answer.receipts} >= {"audio"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_undoes_a_lock(host: Host) -> None:
    with SwitchClient.local(host.runtime) as switch:
        switch.mask("video", hard=True)
        assert switch.status().modalities["video"].requested == "hard"
        assert switch.unmask("video").ok
        assert switch.status().modalities["video"].requested == "live"


def test_lock_stays_without_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with SwitchClient.local(host.runtime) as switch:
        switch.mask("video", hard=True)
        assert "press the local button" in switch.unmask("video").text


def test_forged_receipt_is_named(host: Host) -> None:
    with SwitchClient.local(host.runtime) as switch:
        switch.mask("audio")
        path = host.state / "receipts.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        of_start = [number for number, line in enumerate(lines, 1) if b"start of the switch" in line]
        path.write_bytes(b"".join(lines).replace(b"start of the switch", b"end of the switch"))
        with pytest.raises(PrivacyError, match=f"line {of_start[0]}"):
            switch.receipts()


def test_missing_instance_is_reported(place: Path) -> None:
    (place / "run").mkdir(mode=0o700)
    with pytest.raises(NotRunning, match="edge-mer run"):
        SwitchClient.local(place / "run")


def test_silent_switch_raises_no_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_client, "LOCAL_PATIENCE_US", 200_000)
    bus = ZmqBus(place)
    with SwitchClient.on_bus(bus) as switch, pytest.raises(NoAnswer, match="NOTHING is known to be masked"):
        switch.mask("audio")
    bus.close()


def test_missing_console_keys_are_reported(host: Host, place: Path) -> None:
    (place / "other").mkdir(mode=0o700)
    show_state_directory(host.runtime, place / "other")
    with SwitchClient.local(host.runtime) as switch:
        answer = switch.unmask("audio")
    assert (answer.ok, "holds no key of this console" in answer.text) == (False, True)


def test_receipts_of_a_remote_host_are_refused(place: Path) -> None:
    identity = new_identity(place, "phone")
    with (
        SwitchClient.remote(identity, Link("tcp://127.0.0.1:1", "", identity.content.curve_public, "")) as switch,
        pytest.raises(PrivacyError, match="on the host itself"),
    ):
        switch.receipts()
