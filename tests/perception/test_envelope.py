"""The level of voice that a room shares: only speech, only with consent, never from before a mask."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Purge
from edge_mer.contract.messages import Envelope as Head
from edge_mer.contract.messages import Message
from edge_mer.contract.raw import RawAudio
from edge_mer.perception.envelope import NO_CONSENT, STEP, STEPS, Envelope, EnvelopeNode
from edge_mer.perception.loudness import level_db
from edge_mer.privacy.consent_setup import agree

TODAY = datetime.date(2026, 11, 27)


class LoudIsSpeech:
    def initial(self) -> Any:
        return 0

    def step(self, state: Any, chunk: Any) -> tuple[Any, float]:
        return state + 1, float(np.abs(chunk).max() > 0.05)


def block(sound: Any, index: int = 0, epoch: int = 1) -> Message[RawAudio]:
    head = Head(schema="edge_mer.raw.audio/1", source="m", boot="b", seq=0, origin_us=7 * SECOND, created_us=7 * SECOND)
    body = RawAudio(rate=16000, sample_index=index, overflows=0, mask_epoch=epoch)
    return Message("raw/audio", head, body, (np.asarray(sound, np.int16),), b"")


def tone(seconds: float, peak: int) -> Any:
    at = np.arange(round(seconds * 16000))
    return (peak * np.sin(at * 0.3)).astype(np.int16)


def test_level_is_that_of_speech_and_null_elsewhere() -> None:
    sound = np.concatenate([tone(0.5, 10000), tone(0.5, 100)])
    _, found = Envelope(LoudIsSpeech()).step(None, block(sound))
    (begin, first), (second_begin, second) = found
    assert (begin, second_begin) == (7 * SECOND, 7 * SECOND + SECOND // 2)
    assert first.levels == (-13,) * STEPS
    assert second.levels[1:] == (None,) * (STEPS - 1)


def test_levels_have_no_more_than_1_db() -> None:
    assert level_db(np.full(10, 0.5, np.float32)) == -6
    assert level_db(np.zeros(10, np.float32)) == -100


@given(st.lists(st.integers(1, 4000), max_size=12))
def test_blocks_of_any_size_give_the_same_levels(sizes: list[int]) -> None:
    sound = np.concatenate([tone(0.4, 9000), tone(0.3, 90), tone(1.0, 20000)])
    _, whole = Envelope(LoudIsSpeech()).step(None, block(sound))
    fold, state, found, at = Envelope(LoudIsSpeech()), None, [], 0
    for size in (*sizes, len(sound)):
        if len(part := sound[at : at + size]):
            state, more = fold.step(state, block(part, at))
            found += [voice for _, voice in more]
            at += len(part)
    assert found == [voice for _, voice in whole]


def test_gap_in_the_sound_starts_anew() -> None:
    fold = Envelope(LoudIsSpeech())
    state, _ = fold.step(None, block(tone(0.3, 9000)))
    state, found = fold.step(state, block(tone(0.5, 9000), 99_999))
    assert len(found) == 1
    assert not len(state.pending) % STEP


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus(MemoryBroker(), FakeClock())


def node(bus: MemoryBus, place: Path, *matters: Any) -> tuple[EnvelopeNode, Any, Any]:
    state = place / "state"
    state.mkdir(mode=0o700)
    agree(str(state), matters, "Anna", TODAY)
    config = Config.model_validate({"privacy": {"state": str(state)}, "house": {"share_voice": True}})
    server, raw = bus.server("switch"), bus.publisher("raw/audio", "m")
    reader = bus.reader("voice")
    made = EnvelopeNode(config, bus, LoudIsSpeech())
    made.turn()

    def speak(index: int, epoch: int) -> int:
        body = RawAudio(rate=16000, sample_index=index, overflows=0, mask_epoch=epoch)
        raw.send(body, (tone(0.5, 9000),), origin_us=bus.clock.now_us())
        made.turn()
        return len(reader.drain())

    return made, server, speak


def test_nothing_is_shared_without_the_consent(bus: MemoryBus, tmp_path: Path) -> None:
    made, _, speak = node(bus, tmp_path, "audio", "history")
    assert speak(0, 1) == 0
    assert made.notes == (NO_CONSENT,)
    assert made._state is None


def test_mask_forgets_what_was_heard_and_drops_what_is_from_before(bus: MemoryBus, tmp_path: Path) -> None:
    made, server, speak = node(bus, tmp_path, "audio", "house")
    assert speak(0, 1) == 1
    peer, _ = server.receive()
    server.send(peer, Purge(modality="audio", mask_epoch=2))
    made.turn()
    assert made._state is None
    assert speak(8000, 1) == 0
    assert speak(0, 3) == 1
