"""The pitch of a voice: where it lies, how sure that is, and nothing where nothing repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.perception.pitch import HIGHEST_HZ, LOWEST_HZ, WINDOW, pitch

TIME = np.arange(2_600) / 16_000


def voice(hz: float, overtones: int = 8) -> NDArray[np.float32]:
    """A tone with overtones that fall by 6 dB per octave."""
    parts = [np.sin(2 * np.pi * hz * k * TIME + k) / k for k in range(1, overtones + 1) if hz * k < 8_000]
    return np.float32(0.2) * np.sum(parts, 0).astype(np.float32)


@given(hz=st.floats(LOWEST_HZ + 5, HIGHEST_HZ - 20), overtones=st.integers(1, 12))
def test_a_steady_voice_is_found_within_a_hundredth_of_an_octave(hz: float, overtones: int) -> None:
    found = pitch(voice(hz, overtones))
    assert found.shape == (10, 2)
    assert np.abs(found[:, 0] - np.log2(hz / 100)).max() < 0.01
    assert (found[:, 1] > 0.9).all()


def test_a_voice_without_its_lowest_partial_keeps_its_pitch() -> None:
    found = pitch(voice(150) - np.float32(0.2) * np.sin(2 * np.pi * 150 * TIME + 1).astype(np.float32))
    assert np.abs(found[:, 0] - np.log2(1.5)).max() < 0.02


def test_how_loud_it_is_changes_nothing() -> None:
    assert np.abs(pitch(voice(200)) - pitch(np.float32(0.05) * voice(200))).max() < 0.01


@pytest.mark.parametrize("colour", ["white", "digital silence", "a step", "one sample"])
def test_what_does_not_repeat_has_no_strength(colour: str) -> None:
    random = np.random.default_rng(0)
    sound = {
        "white": random.normal(0, 0.1, 2_600),
        "digital silence": np.zeros(2_600),
        "a step": np.repeat([0.0, 0.5], 1_300),
        "one sample": np.eye(1, 2_600, 1_300)[0],
    }[colour].astype(np.float32)
    found = pitch(sound)
    assert np.isfinite(found).all()
    assert np.quantile(found[:, 1], 0.5 if colour == "white" else 1.0) < 0.45


def test_noise_lowers_the_strength_and_not_the_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 2_600).astype(np.float32)
    clear, buried = pitch(voice(180)), pitch(voice(180) + noise)
    assert np.abs(buried[:, 0] - np.log2(1.8)).max() < 0.05
    assert (buried[:, 1] < clear[:, 1]).all()


def test_one_frame_per_200_samples_and_each_alone() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 2_600).astype(np.float32)
    together = pitch(sound)
    for i in range(10):
        assert np.abs(pitch(sound[200 * i : 200 * i + WINDOW])[0] - together[i]).max() < 1e-5
