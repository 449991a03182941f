"""What rooms and lines do to a voice, and that they do no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encoders import audio_augment as sound

TIME = np.arange(16_000) / 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


@pytest.mark.parametrize("percent", [88, 100, 113])
def test_speed_moves_pitch_and_tempo_together(percent: int) -> None:
    faster = sound.speed(TONE, percent)
    assert len(faster) == pytest.approx(16_000 * 100 / percent, abs=2)
    assert loudest_hz(faster) == pytest.approx(440 * percent / 100, rel=0.01)


def test_a_room_answers_after_the_voice_and_falls_silent() -> None:
    click = np.zeros(16_000, np.float32)
    click[1_000] = 1
    found = sound.reverberated(click, 0.3, 0.5, np.random.default_rng(0))
    assert np.abs(found[:1_000]).max() < 1e-6
    assert found[1_000] == pytest.approx(1, abs=1e-5)
    assert np.square(found[1_001:2_400]).sum() > 100 * np.square(found[5_000:]).sum()


@pytest.mark.parametrize("decibels", [0.0, 20.0])
def test_noise_is_as_far_below_the_voice_as_asked(decibels: float) -> None:
    random = np.random.default_rng(0)
    both = sound.mixed(TONE, sound.noise(16_000, 1.0, random), decibels)
    ratio = 10 * np.log10(np.square(TONE).mean() / np.square(both - TONE).mean())
    assert ratio == pytest.approx(decibels, abs=0.1)


def test_a_microphone_wavers_by_a_few_decibels_and_keeps_every_tone() -> None:
    random, notes = np.random.default_rng(0), [125, 500, 2_000, 6_000]
    chord = np.sum([np.sin(2 * np.pi * hz * TIME) for hz in notes], 0).astype(np.float32) / 8
    changes = []
    for _ in range(200):
        found = np.abs(np.fft.rfft(sound.microphone(chord, 4.0, random)))
        changes.append(20 * np.log10(found[notes] / np.abs(np.fft.rfft(chord))[notes]))
    assert np.abs(np.mean(changes, 0)).max() < 1
    assert 2.5 < np.std(changes) < 4.5
    assert np.abs(np.corrcoef(np.array(changes).T)[0, 2]) < 0.3  # four octaves apart knows nothing of the other


def test_a_telephone_passes_nothing_above_4_khz() -> None:
    found = sound.telephone(TONE + (0.3 * np.sin(2 * np.pi * 6_000 * TIME)).astype(np.float32))
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum[6_000] < 0.01 * spectrum[440]
    assert loudest_hz(found) == pytest.approx(440, abs=2)


@given(seed=st.integers(0, 500))
@settings(max_examples=30)
def test_elsewhere_it_is_still_sound_and_the_same_for_the_same_seed(seed: int) -> None:
    one, other = (sound.elsewhere(TONE, [TONE[::-1]], np.random.default_rng(seed)) for _ in range(2))
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert np.abs(one).max() <= 1
    assert one.tobytes() == other.tobytes()
