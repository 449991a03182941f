"""The front end of the voice encoder removes level by itself: no gain control stands before it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.encoders.voice_net import VoiceFront
from pipelines.encoders.voice_windows import frames_of, window
from pipelines.encoders.whisper import WhisperFront

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "speech_clips"


def clip(name: str) -> NDArray[np.float32]:
    with wave.open(str(CLIPS / name)) as source:
        pcm = np.frombuffer(source.readframes(source.getnframes()), np.int16)
    return (pcm / np.float32(32_768)).astype(np.float32)


def as_recorded(sound: NDArray[np.float32], decibels: float) -> NDArray[np.float32]:
    """Through a microphone with this gain: clipped softly, then rounded to 16 bits."""
    loud = sound * 10 ** (decibels / 20)
    soft = np.where(np.abs(loud) > 0.5, np.sign(loud) * (0.5 + 0.5 * np.tanh(2 * np.abs(loud) - 1)), loud)
    return (np.rint(soft * 32_767) / 32_768).astype(np.float32)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/data/speech_clips is not there")
@pytest.mark.parametrize("decibels", [-12, -24, 6])
def test_the_same_voice_at_another_level_is_nearly_the_same_and_far_from_another_voice(decibels: float) -> None:
    torch.manual_seed(0)
    net = VoiceFront(WhisperFront(layers=3)).eval()

    def pooled(sound: NDArray[np.float32]) -> torch.Tensor:
        with torch.no_grad():
            pooled, _ = net(torch.from_numpy(window(frames_of(sound[: 2 * 16_000]), 3)))
        return pooled

    one, other = clip("crema_1002_DFA_ANG_XX.wav"), clip("crema_1002_DFA_SAD_XX.wav")
    one = one / np.abs(one).max() * np.float32(0.7)
    moved = (pooled(as_recorded(one, decibels)) - pooled(one)).norm()
    apart = (pooled(other) - pooled(one)).norm()
    assert moved < 0.15 * apart
