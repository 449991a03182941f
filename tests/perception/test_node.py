"""The perception worker: raw messages in, features out, whatever arrives; and forgetting on demand."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Purge, Purged, Register
from edge_mer.contract.messages import Message, RawAudio, RawText, RawVideo, WordTime
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.encoder import AudioBlock, EncoderSpec, TextSegment, Tokens, VideoFrame
from edge_mer.perception.node import PerceptionNode
from edge_mer.perception.stream import FeatureStream
from tests.perception.fakes import activity_graph, audio_graph


class Echo:
    """An encoder whose token repeats its block and counts what it has seen since ``initial()``."""

    def __init__(self, modality: Any) -> None:
        self.spec = EncoderSpec("echo", modality, 8.0, 2, 0, "hash")

    def initial(self) -> int:
        return 0

    def step(self, state: int, block: AudioBlock | VideoFrame | TextSegment) -> tuple[int, Tokens]:
        if isinstance(block, AudioBlock):
            value, at = float(block.samples.sum()), block.origin_us
        elif isinstance(block, VideoFrame):
            value, at = float(block.image.mean()), block.origin_us
        else:
            value, at = float(len(block.words)), block.words[-1].end_us if block.words else 0
        when = np.array([at], np.int64)
        return state + 1, Tokens(np.array([[value, state]], np.float32), when, when, np.array([True]))


class Room:
    def __init__(self, modality: Any) -> None:
        self.clock = FakeClock()
        self.bus = MemoryBus(MemoryBroker(), self.clock)
        self.switch = self.bus.server("switch")
        self.topic = f"raw/{modality}"
        self.raw = self.bus.publisher(self.topic, "test")
        self.features = self.bus.reader(f"feature/{modality}")
        self.node_bus = MemoryBus(self.bus.broker, self.clock)
        self.node = PerceptionNode(modality, Echo(modality), self.node_bus)
        self.node.turn()

    def audio(self, samples: int = 512, epoch: int = 0, rate: int = 16_000) -> list[Message[Any]]:
        body = RawAudio(rate=rate, sample_index=0, overflows=0, mask_epoch=epoch)
        self.raw.send(body, (np.ones(samples, np.int16),), origin_us=self.clock.now_us())
        return self.turn()

    def video(self, picture: NDArray[np.uint8], epoch: int = 0) -> list[Message[Any]]:
        body = RawVideo(frame=0, width=8, height=8, mask_epoch=epoch)
        self.raw.send(body, (picture,), origin_us=self.clock.now_us())
        return self.turn()

    def turn(self) -> list[Message[Any]]:
        self.node.turn()
        return self.features.drain()


@pytest.fixture
def audio() -> Room:
    return Room("audio")


def jpeg(level: int) -> NDArray[np.uint8]:
    ok, data = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))
    assert ok
    return np.asarray(data, np.uint8).ravel()


def test_a_feature_names_the_raw_messages_that_it_came_from(audio: Room) -> None:
    (one,), (two,) = audio.audio(), audio.audio()
    assert (one.body.raw_first, one.body.raw_last) == (0, 0)
    assert (two.body.raw_first, two.body.raw_last) == (1, 1)
    assert one.body.raw_boot == audio.bus.boot
    assert one.body.cut, "the first feature of a stream begins a context"
    assert not two.body.cut


def test_a_picture_is_decoded_before_it_is_encoded() -> None:
    (feature,) = Room("video").video(jpeg(100))
    assert abs(feature.payload[0][0, 0] - 100) < 3


def test_a_damaged_picture_is_counted_and_the_next_one_is_used() -> None:
    room = Room("video")
    assert room.video(np.arange(100, dtype=np.uint8)) == []
    assert room.video(jpeg(100)[:60]) == []
    assert len(room.video(jpeg(100))) == 1
    assert room.node.counters["unusable"] == 2


def test_audio_of_another_rate_is_refused(audio: Room) -> None:
    assert audio.audio(rate=44_100) == []
    assert audio.node.counters["unusable"] == 1


def test_a_purge_makes_the_encoder_forget_and_is_acknowledged(audio: Room) -> None:
    audio.audio()
    (feature,) = audio.audio()
    assert feature.payload[0][0, 1] == 1
    peer = next(p for p, m in iter(audio.switch.receive, None) if isinstance(m, Register))
    audio.switch.send(peer, Purge(modality="audio", mask_epoch=4))
    audio.node.turn()
    assert any(isinstance(m, Purged) for _, m in iter(audio.switch.receive, None))
    assert audio.audio(epoch=3) == [], "from before the mask"
    (feature,) = audio.audio(epoch=4)
    assert (feature.body.cut, feature.payload[0][0, 1]) == (True, 0)


def test_a_restarted_source_begins_a_new_context(audio: Room) -> None:
    audio.audio()
    audio.bus.close()
    audio.bus = MemoryBus(audio.bus.broker, audio.clock)
    audio.raw, audio.features = audio.bus.publisher("raw/audio", "test"), audio.bus.reader("feature/audio")
    (feature,) = audio.audio()
    assert (feature.body.cut, feature.payload[0][0, 1]) == (True, 0)


def test_a_backlog_is_dropped_not_worked_off(audio: Room) -> None:
    body = RawAudio(rate=16_000, sample_index=0, overflows=0, mask_epoch=0)
    for _ in range(100):
        audio.raw.send(body, (np.ones(512, np.int16),), origin_us=audio.clock.now_us())
    audio.clock.advance(3 * SECOND)
    assert audio.turn() == []
    assert audio.node.counters["late"] == 100
    assert len(audio.audio()) == 1


def test_words_from_the_microphone_are_biometric_and_typed_ones_are_not() -> None:
    for parent in ("raw/audio", None):
        room = Room("text")
        body = RawText(segment=1, words=(WordTime("hi", 1, 2),), final=True, parent=parent, engine="e", mask_epoch=0)
        room.raw.send(body, origin_us=0)
        (feature,) = room.turn()
        assert feature.body.biometric == (parent is not None)


@pytest.mark.parametrize("modality", ["audio", "video", "text"])
def test_the_same_raw_messages_give_the_same_bytes(modality: str) -> None:
    runs = []
    for _ in range(2):
        room = Room(modality)
        if modality == "audio":
            got = [m for _ in range(5) for m in room.audio()]
        elif modality == "video":
            got = [m for level in (10, 90, 200) for m in room.video(jpeg(level))]
        else:
            body = RawText(segment=1, words=(WordTime("a", 1, 2),), final=False, parent=None, engine="e", mask_epoch=0)
            room.raw.send(body, origin_us=0)
            got = room.turn()
        runs.append([[p.tobytes() for p in m.payload] for m in got])
    assert runs[0] == runs[1]
    assert runs[0]


def test_two_faces_leave_the_encoder_as_unbound() -> None:
    """The reason goes with the feature, so that an estimate can say why there is no face in it."""

    class Two(Echo):
        def step(self, state: int, block: AudioBlock | VideoFrame | TextSegment) -> tuple[int, Tokens]:
            after, tokens = super().step(state, block)
            return Unsure(after), tokens

    class Unsure(int):
        reason = "unbound"

    message = Room("video").raw.send(RawVideo(frame=0, width=8, height=8, mask_epoch=0), (jpeg(9),), origin_us=5)
    stream = FeatureStream(Two("video"))
    _, draft = stream.step(stream.initial(), message)
    assert draft is not None
    assert draft.body.reason == "unbound"


def test_a_purge_overwrites_what_the_encoder_held_and_nothing_that_it_starts_with() -> None:
    clock = FakeClock()
    bus = MemoryBus(MemoryBroker(), clock)
    switch, raw = bus.server("switch"), bus.publisher("raw/audio", "test")
    encoder = AudioEncoder(audio_graph(), activity_graph())
    node = PerceptionNode("audio", encoder, MemoryBus(bus.broker, clock))
    began = encoder.initial().frames.tobytes()
    node.turn()
    for n in range(8):
        samples = np.full(512, 99, np.int16)
        body = RawAudio(rate=16_000, sample_index=n * 512, overflows=0, mask_epoch=0)
        raw.send(body, (samples,), origin_us=clock.now_us() + n * 32_000)
    node.turn()
    held = node._state.encoder
    assert held.samples[-1] != 0
    assert (held.frames != encoder.initial().frames).any()
    peer, _ = switch.receive() or (b"", None)
    switch.send(peer, Purge(modality="audio", mask_epoch=1))
    node.turn()
    assert not held.samples.any()
    assert not held.frames.any()
    assert encoder.initial().frames.tobytes() == began
