"""A microphone opens at whatever rate, number of channels and format its device takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.capture.stream_settings import (
    FORMATS,
    MOST_CHANNELS,
    RATES,
    NoUsableSetting,
    StreamSettings,
    candidates,
    open_first,
)


class Refusal(Exception):
    """Stands for sounddevice.PortAudioError."""


PORTAUDIO: Any = SimpleNamespace(PortAudioError=Refusal)
CODES = {"rate": -9997, "channels": -9998, "dtype": -9994}


class Card:
    """A raw device (hw:1,0) that takes these rates, numbers of channels and formats only."""

    def __init__(self, rates: set[int], channels: set[int], formats: set[str]) -> None:
        self.takes = {"rate": rates, "channels": channels, "dtype": formats}
        self.tried: list[StreamSettings] = []

    def open(self, settings: StreamSettings) -> str:
        self.tried.append(settings)
        for name, taken in self.takes.items():
            if getattr(settings, name) not in taken:
                raise Refusal(f"Error opening RawInputStream: Invalid {name} [PaErrorCode {CODES[name]}]\nmore")
        return "stream"


@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2, 4, 6, 8, 10, 16]),
    dtype=st.sampled_from(FORMATS),
    reported=st.sampled_from([8_000.0, 44_100.0, 48_000.0, 0.0]),
)
def test_a_device_with_one_setting_opens_with_it(rate: int, channels: int, dtype: str, reported: float) -> None:
    card = Card({rate}, {channels}, {dtype})
    stream, settings = open_first(
        PORTAUDIO, {"max_input_channels": channels, "default_samplerate": reported}, card.open
    )
    assert (stream, settings) == ("stream", StreamSettings(rate, channels, dtype))
    assert len(card.tried) < 25


def test_a_48_khz_card_opens_at_once_with_all_of_its_channels() -> None:
    card = Card({44_100, 48_000}, {2}, {"int16", "float32"})
    _, settings = open_first(PORTAUDIO, {"max_input_channels": 2, "default_samplerate": 48_000.0}, card.open)
    assert card.tried == [settings]
    assert str(settings) == "48000 Hz, 2 channels, float32"


def test_at_most_sixteen_channels_are_asked_for() -> None:
    assert candidates({"max_input_channels": 32, "default_samplerate": 44_100.0})[0].channels == MOST_CHANNELS


def test_a_device_that_takes_nothing_is_refused_by_name() -> None:
    card = Card(set(), {1}, {"int16"})
    with pytest.raises(NoUsableSetting, match=r"none of 48000, .* Hz .* Invalid rate \[PaErrorCode -9997\]$"):
        open_first(PORTAUDIO, {"max_input_channels": 1}, card.open)
    assert len(card.tried) == len(RATES)


def test_a_device_that_is_busy_is_not_tried_again() -> None:
    calls = []

    def busy(settings: StreamSettings) -> None:
        calls.append(settings)
        raise Refusal("Device unavailable [PaErrorCode -9985]")

    with pytest.raises(Refusal, match="unavailable"):
        open_first(PORTAUDIO, {}, busy)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_format_gives_the_same_samples(dtype: str) -> None:
    values = np.array([[0.0, 0.5], [-1.0, 0.25], [-0.5, -0.25]], np.float32)
    data = {
        "float32": values.astype("<f4").tobytes(),
        "int16": (values * 2**15).astype("<i2").tobytes(),
        "int32": (values.astype(np.float64) * 2**31).astype("<i4").tobytes(),
        "int24": b"".join(int(v * 2**23).to_bytes(3, "little", signed=True) for v in values.ravel().tolist()),
    }[dtype]
    assert np.array_equal(StreamSettings(48_000, 2, dtype).floats(data), values)
