"""The process ``voice``: the level of voice in a room, ten times a second, for a house of rooms.

Off unless ``house.share_voice`` is set, and silent without the consent ``house``. It publishes the level (1 dB) where
Silero VAD finds speech, and null elsewhere: no sound, no spectrum, no word (edge_mer/privacy/README.md).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.bus import Bus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.house import VOICE_STEP_US, Voice
from edge_mer.contract.messages import Message
from edge_mer.contract.overwrite import overwrite
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.perception.loudness import level_db
from edge_mer.perception.speech import CHUNK, PackagedVad, SpeechDetector
from edge_mer.privacy.consent.consent_file import HOUSE, agreed
from edge_mer.privacy.purge_client import PurgeClient

NAME = "voice"
STEP = SAMPLE_RATE * VOICE_STEP_US // SECOND
STEPS = 5
SPEECH = 0.5
FULL_SCALE = 32768.0
IDLE_US, CONSENT_US = SECOND // 4, SECOND
NO_CONSENT = "nobody agreed to share the level of voice with the house: edge-mer run --consent house"


@dataclass
class EnvelopeState:
    """``sample``: index of the next sample. ``pending``: samples of the step that has begun; ``chunk``: of the
    chunk for the detector. ``begin_us``: when the first of ``levels`` began."""

    detector: Any
    sample: int
    begin_us: int
    pending: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    chunk: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    is_speech: bool = False
    levels: list[int | None] = field(default_factory=list)


class Envelope:
    """A fold from blocks of sound to ``Voice``."""

    def __init__(self, detector: SpeechDetector) -> None:
        self._detector = detector

    def step(self, state: EnvelopeState | None, message: Message[Any]) -> tuple[EnvelopeState, list[tuple[int, Voice]]]:
        """The next state, and complete messages with their ``origin_us``."""
        body = message.body
        if state is None or state.sample != body.sample_index:
            state = EnvelopeState(self._detector.initial(), body.sample_index, message.envelope.origin_us)
        sound = message.payload[0].astype(np.float32) / FULL_SCALE
        state.sample += len(sound)
        found = []
        while len(sound):
            room = min(STEP - len(state.pending), CHUNK - len(state.chunk), len(sound))
            state.pending = np.concatenate([state.pending, sound[:room]])
            state.chunk = np.concatenate([state.chunk, sound[:room]])
            sound = sound[room:]
            if len(state.chunk) == CHUNK:
                state.detector, probability = self._detector.step(state.detector, state.chunk)
                state.is_speech |= probability >= SPEECH
                state.chunk = state.chunk[:0]
            if len(state.pending) == STEP:
                state.levels.append(level_db(state.pending) if state.is_speech else None)
                state.pending, state.is_speech = state.pending[:0], False
            if len(state.levels) == STEPS:
                found.append((state.begin_us, Voice(levels=tuple(state.levels), mask_epoch=body.mask_epoch)))
                state.begin_us += STEPS * VOICE_STEP_US
                state.levels = []
        return state, found


class EnvelopeNode:
    wake: tuple[int, ...] = ()

    def __init__(self, config: Config, bus: Bus, detector: SpeechDetector) -> None:
        self._config, self._clock = config, bus.clock
        self._envelope = Envelope(detector)
        self._state: EnvelopeState | None = None
        self._purges = PurgeClient(bus, NAME, ("audio",))
        self._reader = bus.reader("raw/audio")
        self._publisher = bus.publisher("voice", NAME)
        self._consent_due = 0
        self._may = False

    def turn(self) -> int:
        for order in self._purges.orders():
            self._reader.require_epoch(order.modality, order.mask_epoch)
            self._forget()
            self._purges.done(order)
        now = self._clock.now_us()
        if now >= self._consent_due:
            self._consent_due = now + CONSENT_US
            self._may = HOUSE in agreed(self._config, self._clock.wall_us())
            if not self._may:
                self._forget()
        for message in self._reader.drain():
            if self._may:
                self._state, found = self._envelope.step(self._state, message)
                for origin_us, voice in found:
                    self._publisher.send(voice, origin_us=origin_us)
        return IDLE_US

    @property
    def counters(self) -> Counter[str]:
        return self._reader.counters

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._may else (NO_CONSENT,)

    def close(self) -> None:
        self._purges.leave()

    def _forget(self) -> None:
        if self._state is not None:
            overwrite(self._state)
            self._state = None


def build(config: Config, bus: Bus) -> EnvelopeNode:
    return EnvelopeNode(config, bus, PackagedVad())
