"""Encoding again what was recorded: what a feature says of its raw messages is enough, whatever was lost on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import InputRef, Message, RawAudio, canonical, result_bytes
from edge_mer.perception.encoder import AudioBlock, EncoderSpec, Tokens, no_tokens
from edge_mer.perception.replay import replay
from edge_mer.perception.stream import FeatureStream

BLOCK_US = 32_000


class Echo:
    """A token at every third block that sums all samples since the beginning: it remembers every single one."""

    spec = EncoderSpec("echo", "audio", 10.0, 1, 0, "echo 1")

    def initial(self) -> tuple[int, int]:
        return 0, 0

    def step(self, state: tuple[int, int], block: AudioBlock) -> tuple[tuple[int, int], Tokens]:
        count, total = state[0] + 1, state[1] + int(block.samples.sum() * 32768)
        if count % 3:
            return (count, total), no_tokens(1)
        end = np.array([block.origin_us], np.int64)
        return (count, total), Tokens(np.array([[total]], np.float32), end, end, np.ones(1, np.bool_))


class Live:
    """A gate, a lossy way and a perception worker: ``lost`` raw messages are recorded and never encoded."""

    def __init__(self) -> None:
        self.clock, self.broker = FakeClock(), MemoryBroker()
        self.raw: dict[InputRef, Message[Any]] = {}
        self.features: list[Message[Any]] = []
        self.number = 0
        self.gate, self.worker = self.bus("gate").publisher("raw/audio", "gate"), self.restart()

    def bus(self, boot: str) -> MemoryBus:
        return MemoryBus(self.broker, self.clock, boot)

    def restart(self) -> Any:
        self.stream = FeatureStream(Echo())
        self.state = self.stream.initial()
        bus = self.bus(f"perception{self.number}")
        self.number += 1
        self.worker = bus.publisher("feature/audio", "perception.audio") if self.number == 1 else self.worker
        self.worker.boot, self.worker.seq = bus.boot, 0
        return self.worker

    def send(self, epoch: int, lost: bool, usable: bool = True) -> None:
        body = RawAudio(rate=16_000 if usable else 8_000, sample_index=0, overflows=0, mask_epoch=epoch)
        samples = np.array([len(self.raw) % 100 + 1, 7], np.int16)
        message = self.gate.send(body, [samples], origin_us=self.clock.now_us())
        self.raw[message.ref] = message
        self.clock.advance(BLOCK_US)
        if lost:
            return
        try:
            self.state, draft = self.stream.step(self.state, message)
        except InputError:
            return
        if draft is not None:
            self.features.append(self.worker.send(draft.body, draft.payload, origin_us=draft.origin_us))


@given(st.lists(st.sampled_from(["ok"] * 6 + ["lost", "unusable", "mask", "restart", "purge"]), max_size=80))
@settings(max_examples=150)
def test_every_feature_comes_again_whatever_was_lost(script: list[str]) -> None:
    live, epoch = Live(), 1
    for what in script:
        if what == "mask":
            epoch += 1
        elif what == "restart":
            live.restart()
        elif what == "purge":
            live.state = live.stream.initial()
        else:
            live.send(epoch, lost=what == "lost", usable=what != "unusable")
    again = list(replay(live.features, live.raw.get, FeatureStream(Echo())))
    assert len(again) == len(live.features)
    for encoded in again:
        assert encoded.missing is None
        draft = encoded.draft
        assert draft is not None
        assert canonical(draft.origin_us, draft.body, draft.payload) == result_bytes(encoded.feature)


@pytest.mark.parametrize("gone", [1, 4])
def test_after_a_missing_message_nothing_is_encoded_until_the_encoder_began_anew(gone: int) -> None:
    live = Live()
    for epoch in (1, 1, 1, 1, 1, 1, 2, 2, 2):
        live.send(epoch, lost=False)
    held = {ref: m for ref, m in live.raw.items() if ref.seq != gone}
    again = list(replay(live.features, held.get, FeatureStream(Echo())))
    assert [e.missing.seq if e.missing else None for e in again] == [gone if gone < 3 else None, gone, None]
    assert [e.draft is not None for e in again] == [gone > 3, False, True]


def test_a_feature_says_what_it_skipped_and_where_it_began() -> None:
    live = Live()
    for number in range(9):
        live.send(1, lost=number in (3, 4))
    first, second = (m.body for m in live.features)
    assert (first.began, first.raw_skipped, first.raw_first, first.raw_last) == (True, (), 0, 2)
    assert (second.began, second.raw_first, second.raw_last) == (False, 3, 7)
    assert [(r.first, r.last) for r in second.raw_skipped] == [(3, 4)]
