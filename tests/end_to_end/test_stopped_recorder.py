"""A recorder that is stopped (Ctrl-Z) during a mask gets no receipt: it is killed, and writes nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mer.bench.live import unmask
from edge_mer.bus import ReliableReader
from edge_mer.client import SwitchClient
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import Receipt
from edge_mer.demo.config import demo_config
from edge_mer.session.reader import Session
from tests.end_to_end.room import started

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def test_a_stopped_recorder_is_killed_before_the_receipt(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Path(tmp_path_factory.mktemp("e"))
    place.chmod(0o700)
    config, out = demo_config(place, None, None, {}), place / "joined.mcap"
    settings = (f"privacy.state={config.privacy.state}", "record.encrypt=false", "record.min_free_mb=0")
    with started(config, place) as bus:
        unmask(bus)
        health, receipts = bus.reader("health"), ReliableReader(bus, "receipt")
        recorder = subprocess.Popen(
            [sys.executable, "-m", "edge_mer.cli.main", "record", str(out), "--raw", "--directory", str(bus.directory)]
            + [word for setting in settings for word in ("--set", setting)],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        name = f"record-{recorder.pid}"
        try:
            deadline = bus.clock.now_us() + 60 * SECOND
            while not any(name in message.body.workers for message in health.drain()):
                assert bus.clock.now_us() < deadline, "the recorder did not start"
                bus.wait(SECOND // 10)
            bus.wait(2 * SECOND)  # no socket of ours is read meanwhile, so this ends at the next health report
            recorder.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, recorder.pid, os.WSTOPPED | os.WNOWAIT)
            with SwitchClient.on_bus(bus) as switch:
                answer = switch.mask(*MODALITIES)
            assert answer.ok, answer.text
            assert recorder.wait(20) == -signal.SIGKILL
            found: dict[int, Receipt] = {}
            while not set(answer.receipts) <= set(found) and bus.clock.now_us() < deadline:
                found |= {message.body.number: message.body for message in receipts.drain()}
                bus.wait(SECOND // 20)
            for number in answer.receipts:
                assert f"{name} (it was stopped, so it was killed)" in found[number].purged
        finally:
            recorder.kill()
            recorder.wait()
    purged = max(found[number].purged_us for number in answer.receipts)
    assert all(at <= purged for at, _ in Session(out).timed())
