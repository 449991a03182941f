"""Sound of any rate and number of channels becomes 16 kHz mono: nothing cancels, no sample moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.capture.mono import Downmix, MonoStream
from edge_mer.contract.raw import SAMPLE_RATE

RANDOM = np.random.default_rng(1)
SECONDS = 2


def tone(rate: int, hertz: float = 440, amplitude: float = 0.3) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(SECONDS * rate) / rate)).astype(np.float32)


def mono(samples: NDArray[np.float32], rate: int, cut: int = 1000) -> NDArray[np.int16]:
    stream = MonoStream(rate, samples.shape[1])
    pieces = [stream.feed(samples[i : i + cut]) for i in range(0, len(samples), cut)]
    return np.concatenate([*pieces, stream.feed(samples[:0], last=True)])


def decibels(samples: NDArray[np.int16]) -> float:
    return float(20 * np.log10(np.sqrt(np.square(samples / 32_768).mean()) + 1e-9))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_every_sample_keeps_its_time(rate: int) -> None:
    found = mono(tone(rate)[:, None], rate)
    assert abs(len(found) - SECONDS * SAMPLE_RATE) <= 2
    wanted = 32_768 * tone(SAMPLE_RATE)
    inner = slice(800, SECONDS * SAMPLE_RATE - 800)
    assert np.abs(found[inner] - wanted[inner]).max() < 4


def test_mono_at_16_khz_passes_bit_for_bit() -> None:
    pcm = RANDOM.integers(-32_768, 32_768, 5_000).astype(np.int16)
    assert np.array_equal(mono((pcm / np.float32(32_768)).astype(np.float32)[:, None], SAMPLE_RATE), pcm)


def test_what_a_16_khz_signal_cannot_hold_is_no_false_tone() -> None:
    assert decibels(mono(tone(48_000, 11_000)[:, None], 48_000)[800:-800]) < -80


def test_a_voice_in_opposite_phase_keeps_its_level() -> None:
    voice = tone(48_000)
    for gain in (1.0, 0.7):
        found = mono(np.stack([voice, -gain * voice], 1), 48_000)
        assert decibels(found) == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=2)


@pytest.mark.parametrize("channels", [2, 4, 6, 8, 16])
def test_one_live_channel_of_many_keeps_its_level(channels: int) -> None:
    for live in {0, channels - 1, channels // 2}:
        samples = RANDOM.normal(0, 1e-4, (SECONDS * 48_000, channels)).astype(np.float32)
        samples[:, live] += tone(48_000)
        assert decibels(mono(samples, 48_000)) == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.5)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_hiss_or_rumble_on_another_channel_does_not_take_the_place_of_a_voice(rate: int) -> None:
    """A voice 20 dB above the hiss and as loud as the rumble of the other channel."""
    time = np.arange(rate) / rate
    voice = 0.1 * np.sin(2 * np.pi * 300 * time)
    for other in (np.random.default_rng(0).normal(0, 0.007, rate), 0.1 * np.sin(2 * np.pi * 25 * time)):
        mixed = Downmix(rate, 2)
        mixed.feed(np.stack([voice, other], 1).astype(np.float32))
        assert mixed.weights is not None
        assert mixed.weights[0] > 0.9


def test_an_offset_on_another_channel_is_no_sound() -> None:
    samples = np.stack([np.full(SECONDS * 48_000, 0.5, np.float32), tone(48_000, amplitude=0.01)], 1)
    found = mono(samples, 48_000)[800:-800]
    assert decibels(found) == pytest.approx(20 * np.log10(0.01 / np.sqrt(2)), abs=1)
    assert abs(found.mean()) < 50


def test_equal_channels_are_averaged_and_unlike_ones_are_not_turned() -> None:
    voice = tone(16_000)
    assert np.abs(mono(np.stack([voice, voice], 1), 16_000) - np.rint(32_768 * voice)).max() <= 1
    stream = MonoStream(16_000, 2)
    stream.feed(RANDOM.normal(0, 0.1, (16_000, 2)).astype(np.float32))
    assert stream.weights is not None
    assert (stream.weights > 0.4).all()


def test_a_voice_that_changes_its_channel_is_not_lost() -> None:
    voice, nothing = tone(48_000), np.zeros(SECONDS * 48_000, np.float32)
    samples = np.concatenate([np.stack([voice, nothing], 1), np.stack([nothing, voice], 1)])
    assert decibels(mono(samples, 48_000)[-SAMPLE_RATE // 2 :]) > -16


@given(cuts=st.lists(st.integers(0, 9_600), max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_same_samples_give_the_same_sound_however_cut(cuts: list[int]) -> None:
    samples = np.random.default_rng(2).normal(0, 0.1, (9_600, 3)).astype(np.float32)
    stream = MonoStream(SAMPLE_RATE, 3)
    edges = [0, *sorted(cuts), len(samples)]
    pieces = [stream.feed(samples[a:b]) for a, b in pairwise(edges)]
    found = np.concatenate([*pieces, stream.feed(samples[:0], last=True)])
    assert np.array_equal(found, mono(samples, SAMPLE_RATE, cut=9_600))


def test_nan_and_infinity_are_silence_and_leave_no_trace() -> None:
    samples = np.stack([tone(48_000), tone(48_000)], 1)
    samples[1_000:1_100] = np.nan
    samples[2_000] = np.inf
    found = mono(samples, 48_000)
    assert decibels(found[-SAMPLE_RATE:]) == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.5)
