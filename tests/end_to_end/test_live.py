"""``edge-mer run`` on real devices: PulseAudio through PortAudio, an MJPEG camera, text by PocketSphinx."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.bench.live import unmask
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Message, SensorState
from tests.devices import MjpegCamera, PulseAudio
from tests.end_to_end.room import demo_audio, room_with_devices, started

pytestmark = [pytest.mark.end_to_end]
DEADLINE_US = 120 * SECOND


class LiveRun:
    """A running instance, its devices, and its messages."""

    def __init__(self, bus: ZmqBus, microphone: PulseAudio, camera: MjpegCamera) -> None:
        self.bus, self.microphone, self.camera = bus, microphone, camera
        self._reader = bus.reader("emotion", "state/audio", "state/video", "state/text")

    def until(self, wanted: Callable[[Message[Any]], bool], event: str) -> Message[Any]:
        """The first message for which ``wanted`` is true."""
        deadline = self.bus.clock.now_us() + DEADLINE_US
        seen: list[str] = []
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.bus.wait(left)
            for message in self._reader.drain():
                seen.append(getattr(message.body, "combination", ""))
                if wanted(message):
                    return message
        raise AssertionError(f"{event} did not arrive; combinations: {sorted(set(seen))}")

    def combination(self, *names: str) -> Message[Any]:
        """An estimate of a window that ends after this call; finals of older windows are skipped."""
        now = self.bus.clock.now_us()

        def wanted(message: Message[Any]) -> bool:
            is_new = isinstance(message.body, Estimate) and message.envelope.origin_us > now
            return is_new and message.body.combination in names

        return self.until(wanted, f"combination {names}")

    def health(self, topic: str, *states: str) -> Message[Any]:
        return self.until(
            lambda m: m.topic == topic and isinstance(m.body, SensorState) and m.body.health in states,
            f"{topic} {states}",
        )


@pytest.fixture(scope="module")
def live() -> Iterator[LiveRun]:
    pytest.importorskip("pocketsphinx", reason="pip install 'edge-mer[asr-lite]'")
    with ExitStack() as stack:
        room = stack.enter_context(room_with_devices({"source": "asr", "engine": "pocketsphinx"}))
        bus = stack.enter_context(started(room.config, room.place))
        unmask(bus)
        speech = room.microphone.play(np.tile(demo_audio(), 60))
        stack.callback(speech.wait)
        stack.callback(speech.terminate)
        yield LiveRun(bus, room.microphone, room.camera)


def test_real_devices_give_one_estimate_of_three_modalities(live: LiveRun) -> None:
    estimate = live.combination("atv")
    assert estimate.body.probabilities is not None
    assert estimate.body.biometric
    assert 0 < estimate.body.latency_ms.total < 5_000


def test_camera_with_a_constant_image_is_frozen(live: LiveRun) -> None:
    live.camera.behaviour = "frozen"
    live.health("state/video", "frozen")
    assert live.combination("a", "at").body.presence["video"].state == "frozen"
    live.camera.behaviour = "live"
    live.combination("av", "atv")


def test_stalled_camera_is_absent_and_recovers(live: LiveRun) -> None:
    live.camera.behaviour = "stalled"
    live.health("state/video", "absent")
    live.combination("a", "at")
    live.camera.behaviour = "live"
    live.combination("av", "atv")


def test_mask_of_the_microphone_closes_the_stream_and_masks_text(live: LiveRun) -> None:
    live.combination("atv", "av")
    assert live.microphone.listeners() == 1
    answer = SwitchClient.on_bus(live.bus).mask("audio")
    assert answer.ok, answer.text
    assert {m: s.effective for m, s in answer.modalities.items()} == {
        "audio": "masked",
        "video": "live",
        "text": "masked",
    }
    assert live.microphone.listeners() == 0, "the sound server reports the stream closed"
    live.combination("v")
    assert SwitchClient.on_bus(live.bus).unmask("audio").ok
    live.combination("av", "atv")
    assert live.microphone.listeners() == 1


def test_mask_of_the_camera_closes_its_connection(live: LiveRun) -> None:
    live.combination("av", "atv")
    answer = SwitchClient.on_bus(live.bus).mask("video")
    assert answer.ok, answer.text
    assert connections(live.camera.server_port) == 0
    live.combination("a", "at")
    assert SwitchClient.on_bus(live.bus).unmask("video").ok
    live.combination("av", "atv")


def connections(port: int) -> int:
    """Number of established connections to a local port, from /proc/net/tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [r for r in rows if r[3] == "01" and int(r[2].split(":")[1], 16) == port]
    return len(established)
