"""A microphone that delivers no sound is silent, with its reason; a quiet room is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_mer.capture.loudness import DIGITAL_SILENCE, Loudness, level_db
from edge_mer.contract.clock import SECOND

BLOCK_US = 32_000


class Line:
    """A microphone whose blocks come every 32 ms."""

    def __init__(self) -> None:
        self.loudness, self.now_us = Loudness(), SECOND
        self.states: list[tuple[str, str]] = []

    def run(self, seconds: float, db: float) -> tuple[str, str]:
        for _ in range(round(seconds * SECOND / BLOCK_US)):
            self.now_us += BLOCK_US
            self.loudness.arrived(self.now_us, db)
            self.states.append(self.loudness.health(self.now_us))
        return self.states[-1]


def test_exact_zeros_are_digital_silence_after_some_seconds() -> None:
    line = Line()
    assert line.run(4.5, -math.inf) == ("ok", "")
    assert line.run(1, -math.inf) == ("silent", DIGITAL_SILENCE)
    assert line.run(0.1, -40) == ("ok", "")


def test_a_dead_line_is_too_quiet_before_it_can_have_a_label() -> None:
    line = Line()
    assert line.run(0.7, -66.4) == ("silent", "too quiet: -66 dB")
    assert line.run(0.2, -30) == ("ok", "")


def test_a_click_proves_no_microphone() -> None:
    line = Line()
    line.run(0.2, -80)
    line.run(0.064, -10)
    assert line.run(0.6, -70)[0] == "silent"


def test_a_quiet_room_between_sentences_is_ok_and_does_not_flicker() -> None:
    line = Line()
    for _ in range(20):
        line.run(2, -30)
        line.run(20, -68)
    assert set(line.states) == {("ok", "")}
    assert line.run(60, -68) == ("silent", "too quiet: -68 dB")


def test_the_reason_does_not_change_with_every_block() -> None:
    line = Line()
    random = np.random.default_rng(0)
    for db in random.uniform(-80, -66, 1000):
        line.run(0.032, float(db))
    assert len(set(line.states)) < 12


@pytest.mark.parametrize("offset", [0, 200])
def test_levels_ignore_a_constant_offset(offset: int) -> None:
    time = np.arange(512)
    sound = (16 * np.sin(2 * np.pi * time / 32) + offset).astype(np.int16)
    assert level_db(sound) == pytest.approx(-69.3, abs=0.6)
    assert level_db(np.full(512, offset, np.int16)) == -math.inf
