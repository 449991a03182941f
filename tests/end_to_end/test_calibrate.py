"""``edge-mer calibrate`` on a running instance with a real sound server and a real network camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from edge_mer.bench.live import unmask
from edge_mer.bus import ZmqBus
from edge_mer.cli.main import app
from edge_mer.client import SwitchClient
from edge_mer.config import load
from tests.capture.room.test_levels import room
from tests.end_to_end.room import room_with_devices, started

pytestmark = [pytest.mark.end_to_end]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with ExitStack() as stack:
        devices = stack.enter_context(room_with_devices({"source": "off"}))
        bus = stack.enter_context(started(devices.config, devices.place))
        unmask(bus)
        reader = bus.reader("raw/audio", "raw/video")
        seen: set[str] = set()
        while seen != {"raw/audio", "raw/video"}:
            bus.wait(200_000)
            seen |= {m.topic for m in reader.drain()}
        audio: NDArray[np.int16] = np.tile(room(6.0, noise_db=-50, voice_db=-20, clapping=False), 20)
        speech = devices.microphone.play(audio)
        stack.callback(speech.wait)
        stack.callback(speech.terminate)
        yield devices.place


def calibrated(place: Path, *more: str) -> tuple[str, Path]:
    file = place / "edge_mer.toml"
    file.touch()
    where = ("--directory", str(place / "run"), "--config", str(file), "--seconds", "8")
    result = CliRunner().invoke(app, ["calibrate", *where, *more])
    return result.output, file


def test_levels_exposure_and_face_size_are_written_with_the_date(place: Path) -> None:
    output, file = calibrated(place)
    found = load(file)[0].sensors
    assert found.date is not None, output
    assert found.noise_floor_db == pytest.approx(-50, abs=2)
    assert found.voice_db == pytest.approx(-20, abs=2)
    assert found.exposure is not None
    assert 60 < found.exposure < 200
    assert found.face_size == pytest.approx(162 / 240, rel=0.25), "the demo's face, as detected by the cascade"
    assert "not measured: offset" in output, "no claps were played"


def test_masked_microphone_is_not_measured_and_keeps_its_value(place: Path) -> None:
    file = place / "edge_mer.toml"
    file.write_text('[sensors]\ndate = "2026-01-01"\nnoise_floor_db = -41.5\n')
    bus = ZmqBus(place / "run")
    try:
        assert SwitchClient.on_bus(bus).mask("audio").ok
        output, _ = calibrated(place)
        found = load(file)[0].sensors
        assert found.noise_floor_db == -41.5
        assert found.date != "2026-01-01"
        assert "not measured: microphone: 0.0 s of audio" in output
    finally:
        assert SwitchClient.on_bus(bus).unmask("audio").ok
        bus.close()
