"""``edge-mer run`` on real devices: PulseAudio through PortAudio, an MJPEG camera, words by PocketSphinx."""

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
from tests.end_to_end.room import demo_sound, furnished, started

pytestmark = [pytest.mark.end_to_end]
DEADLINE_US = 40 * SECOND


class Living:
    """A running instance, its devices, and everything that it publishes."""

    def __init__(self, bus: ZmqBus, microphone: PulseAudio, camera: MjpegCamera) -> None:
        self.bus, self.microphone, self.camera = bus, microphone, camera
        self._reader = bus.reader("emotion", "state/audio", "state/video", "state/text")

    def until(self, wanted: Callable[[Message[Any]], bool], what: str) -> Message[Any]:
        """The first message that is as wanted."""
        deadline = self.bus.clock.now_us() + DEADLINE_US
        seen: list[str] = []
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.bus.wait(left)
            for message in self._reader.drain():
                seen.append(getattr(message.body, "combination", ""))
                if wanted(message):
                    return message
        raise AssertionError(f"{what} did not come; combinations: {sorted(set(seen))}")

    def combination(self, *names: str) -> Message[Any]:
        """An estimate about a window that ends after this call; finals of older ones go by."""
        now = self.bus.clock.now_us()

        def wanted(message: Message[Any]) -> bool:
            is_new = isinstance(message.body, Estimate) and message.envelope.origin_us > now
            return is_new and message.body.combination in names

        return self.until(wanted, f"combination {names}")

    def health(self, topic: str, *words: str) -> Message[Any]:
        return self.until(
            lambda m: m.topic == topic and isinstance(m.body, SensorState) and m.body.health in words,
            f"{topic} {words}",
        )


@pytest.fixture(scope="module")
def living() -> Iterator[Living]:
    pytest.importorskip("pocketsphinx", reason="pip install 'edge-mer[asr-lite]'")
    with ExitStack() as stack:
        room = stack.enter_context(furnished({"source": "asr", "engine": "pocketsphinx"}))
        bus = stack.enter_context(started(room.config, room.place))
        unmask(bus)
        speech = room.microphone.play(np.tile(demo_sound(), 6))
        stack.callback(speech.wait)
        stack.callback(speech.terminate)
        yield Living(bus, room.microphone, room.camera)


def test_voice_face_and_words_of_real_devices_become_one_estimate(living: Living) -> None:
    estimate = living.combination("atv")
    assert estimate.body.probabilities is not None
    assert estimate.body.abstain is not None, "the face is drawn: nobody is recognised in it"
    assert estimate.body.biometric
    assert 0 < estimate.body.latency_ms.total < 5_000


def test_a_camera_that_shows_the_same_picture_for_ever_is_frozen_not_present(living: Living) -> None:
    living.camera.behaviour = "frozen"
    living.health("state/video", "frozen")
    assert living.combination("a", "at").body.presence["video"].state == "frozen"
    living.camera.behaviour = "live"
    living.combination("av", "atv")


def test_a_camera_that_falls_silent_is_noticed_and_comes_back(living: Living) -> None:
    living.camera.behaviour = "stalled"
    living.health("state/video", "absent")
    living.combination("a", "at")
    living.camera.behaviour = "live"
    living.combination("av", "atv")


def test_the_microphones_mask_closes_the_stream_and_takes_the_words_along(living: Living) -> None:
    living.combination("atv", "av")
    assert living.microphone.listeners() == 1
    answer = SwitchClient.on_bus(living.bus).mask("audio")
    assert answer.ok, answer.text
    assert {m: s.effective for m, s in answer.modalities.items()} == {
        "audio": "masked",
        "video": "live",
        "text": "masked",
    }
    assert living.microphone.listeners() == 0, "the sound server sees the handle closed"
    living.combination("v")
    assert SwitchClient.on_bus(living.bus).unmask("audio").ok
    living.combination("av", "atv")
    assert living.microphone.listeners() == 1


def test_the_cameras_mask_ends_its_connection(living: Living) -> None:
    living.combination("av", "atv")
    answer = SwitchClient.on_bus(living.bus).mask("video")
    assert answer.ok, answer.text
    assert connections(living.camera.server_port) == 0
    living.combination("a", "at")
    assert SwitchClient.on_bus(living.bus).unmask("video").ok
    living.combination("av", "atv")


def connections(port: int) -> int:
    """Open connections to a local port, as the kernel sees them from the client's side."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [r for r in rows if r[3] == "01" and int(r[2].split(":")[1], 16) == port]
    return len(established)
