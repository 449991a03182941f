"""Sound of a clip or stream becomes 16 kHz mono whatever its format, also where that changes."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.capture.sound_frames import SoundFrames, floats

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def frame(rate: int, form: str, samples: NDArray[np.float64]) -> av.AudioFrame:
    """``samples`` [n, channels] in [-1, 1] as a frame of this format."""
    kind = form.rstrip("p")
    scale, dtype = {
        "s16": (32_767, np.int16),
        "s32": (2**31 - 1, np.int32),
        "flt": (1, np.float32),
        "u8": (127, np.uint8),
    }[kind]
    array = (samples * scale + (128 if kind == "u8" else 0)).astype(dtype)
    planes = array.T if form.endswith("p") else array.reshape(1, -1)
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), form, LAYOUTS[samples.shape[1]])
    made.sample_rate = rate
    return made


def tone(rate: int, seconds: float, channels: int) -> NDArray[np.float64]:
    mono = 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(rate * seconds)) / rate)
    return np.stack([mono] * channels, 1)


@pytest.mark.parametrize("form", ["s16", "s16p", "s32", "s32p", "flt", "fltp", "u8", "u8p"])
def test_every_sample_format_is_read(form: str) -> None:
    samples = tone(8_000, 0.1, 2)
    assert np.abs(floats(frame(8_000, form, samples)) - samples).max() < 0.02


def test_sound_goes_on_where_rate_and_channels_change() -> None:
    sound, pieces = SoundFrames(), []
    for rate, form, channels in ((44_100, "s16", 1), (48_000, "fltp", 2), (16_000, "s16", 6), (44_100, "flt", 1)):
        samples = tone(rate, 0.5, channels)
        pieces += [sound.feed(frame(rate, form, part)) for part in np.array_split(samples, 7)]
    pieces.append(sound.feed(None))
    found = np.concatenate(pieces) / 32_768
    assert abs(len(found) - 2 * 16_000) <= 8
    assert np.sqrt(np.square(found).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_what_is_kept_back_is_known_to_the_sample() -> None:
    sound, count = SoundFrames(), 0
    for part in np.array_split(tone(48_000, 1, 2), 50):
        count += len(sound.feed(frame(48_000, "fltp", part)))
        assert sound.kept >= 0
    assert count + sound.kept == 16_000
    assert abs(count + len(sound.feed(None)) - 16_000) <= 2
    assert sound.kept == 0
