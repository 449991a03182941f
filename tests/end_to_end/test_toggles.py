"""200 toggles on real processes: PulseAudio, an MJPEG camera that also stalls, PocketSphinx decoding, a file.

A plain ZeroMQ subscriber receives no sensor data after ``closed``, and none at all 50 ms after the receipt.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_mer.bench.leak_probe import Observer, Toggler
from edge_mer.bench.live import unmask
from edge_mer.config import Config
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.demo.config import demo_config
from edge_mer.privacy.keys.host_key import read_public
from edge_mer.privacy.switch.receipts import FILE, verify
from tests.end_to_end.room import demo_audio, room_with_devices, started
from tests.end_to_end.test_live import connections

pytestmark = [pytest.mark.end_to_end]
TOGGLES = 100  # with devices, and as many with a file


@contextmanager
def running(place: Path, config: Config) -> Iterator[Toggler]:
    """An instance with everything unmasked; yields its toggler."""
    with ExitStack() as stack:
        bus = stack.enter_context(started(config, place))
        observer = stack.enter_context(Observer(place / "run").listening())
        unmask(bus)
        yield Toggler(bus, observer)


def check(toggler: Toggler, state: Path, count: int) -> None:
    toggler.finish()
    assert toggler.refused == []
    assert len(toggler.toggles) == count
    assert toggler.leaks() == []
    receipts = verify(state / FILE, read_public(state / "host.pub")).receipts
    proven = [r for r in receipts if r.requester == "toggles"]
    assert len(proven) >= count
    assert all(r.handle_closed and r.checks for r in proven)


def test_toggles_with_microphone_camera_and_recogniser() -> None:
    pytest.importorskip("pocketsphinx", reason="pip install 'edge-mer[asr-lite]'")
    rng = random.Random(3)
    with ExitStack() as stack:
        room = stack.enter_context(room_with_devices({"source": "asr", "engine": "pocketsphinx"}))
        microphone, camera, state = room.microphone, room.camera, room.place / "privacy"
        toggler = stack.enter_context(running(room.place, room.config))
        speech = microphone.play(np.tile(demo_audio(), 20))
        stack.callback(speech.wait)
        stack.callback(speech.terminate)
        toggler.until_data("audio", 30)
        toggler.until_data("video", 5)
        toggler.until_data("text")
        order: tuple[Modality, ...] = ("audio", "video", "text", "video")
        for n in range(TOGGLES):
            modality, stalled = order[n % 4], n % 4 == 3
            camera.behaviour = "stalled" if stalled else "live"
            if n % 20 == 2:
                toggler.until_data("text")  # text is published during decoding
            else:
                toggler.wait(rng.randrange(0, 200_000))
            toggler.mask(modality)
            if modality == "audio":
                assert microphone.listeners() == 0, "the sound server reports the stream closed"
            if modality == "video":
                assert connections(camera.server_port) == 0, "the kernel reports the connection closed"
            toggler.wait(rng.randrange(0, 150_000))
            camera.behaviour = "live"
            toggler.unmask(modality)
            if modality != "text":
                toggler.until_data(modality)
        check(toggler, state, TOGGLES)


def test_toggles_with_file_source() -> None:
    rng = random.Random(4)
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as name:
        place = Path(name)
        with running(place, demo_config(place, None, None, {})) as toggler:
            toggler.until_data("video", 5)
            for n in range(TOGGLES):
                modality = MODALITIES[n % 3]
                toggler.mask(modality)
                toggler.wait(rng.randrange(0, 120_000))
                toggler.unmask(modality)
                if modality != "text":
                    toggler.until_data(modality)
            check(toggler, place / "privacy", TOGGLES)
