"""Sound of clips that people have: in opposite phase, on one channel of many, of changing rate, too quiet."""

from __future__ import annotations

import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.capture.loudness import Loudness, level_db
from edge_mer.capture.playback.media_probe import probe
from edge_mer.capture.playback.media_readers import AudioReader

VOICE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(2 * 44_100) / 44_100)).astype(np.float64)
LEVEL_DB = 20 * np.log10(0.3 / np.sqrt(2))


def sound(path: Path, channels: NDArray[np.float64]) -> NDArray[np.int16]:
    """What a clip [n, channels] at 44.1 kHz plays as microphone."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels.shape[1])
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes((32_767 * channels).astype("<i2").tobytes())
    reader, blocks = AudioReader(probe(str(path)), 0, Counter()), []
    while not reader.ended:
        reader.step()
        while (block := reader.take()) is not None:
            blocks.append(block)
    reader.close()
    return np.concatenate(blocks)


def test_a_voice_in_opposite_phase_keeps_its_level(tmp_path: Path) -> None:
    found = sound(tmp_path / "a.wav", np.stack([VOICE, -VOICE], 1))
    assert level_db(found) == pytest.approx(LEVEL_DB, abs=1)
    assert abs(len(found) - 32_000) <= 512


@pytest.mark.parametrize(("count", "live"), [(6, 2), (4, 0), (8, 0), (16, 0)])
def test_a_voice_on_one_channel_of_many_keeps_its_level(count: int, live: int, tmp_path: Path) -> None:
    channels = np.zeros((len(VOICE), count))
    channels[:, live] = VOICE
    assert level_db(sound(tmp_path / "a.wav", channels)) == pytest.approx(LEVEL_DB, abs=1)


def test_a_voice_45_db_too_weak_is_too_quiet_for_a_label(tmp_path: Path) -> None:
    usual_db = -25
    found = sound(tmp_path / "a.wav", (VOICE * 10 ** ((usual_db - 45 - LEVEL_DB) / 20))[:, None])
    loudness = Loudness()
    for n in range(20):
        loudness.arrived(n * 32_000, level_db(found[n * 512 : (n + 1) * 512]))
    assert loudness.health(20 * 32_000) == ("silent", "too quiet: -70 dB")
