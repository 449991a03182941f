"""What a home does to sound, pictures, words and the order of things: each a pure function with a stated strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.encoders import audio_augment as sound
from pipelines.fusion.windows import TokenTrack

Sound = NDArray[np.float32]
Image = NDArray[np.uint8]


def noisy(decibels: float, samples: Sound, random: np.random.Generator) -> Sound:
    """Beside noise that falls as 1/f, ``decibels`` below the voice."""
    return _clipped(sound.mixed(samples, sound.noise(len(samples), 1.0, random), decibels))


def echoing(decay_s: float, samples: Sound, random: np.random.Generator) -> Sound:
    """In a room that loses 60 dB in ``decay_s``, its tail as strong as the direct sound."""
    return _clipped(sound.reverberated(samples, decay_s, 1.0, random))


def jpeg(image: Image, quality: int) -> Image:
    """After JPEG of that quality."""
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED), np.uint8)


def blurred(image: Image, share: float) -> Image:
    """Gaussian blur whose deviation is ``share`` of the picture's width."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), share * image.shape[1]), np.uint8) if share else image


def dark(image: Image, light: float, random: np.random.Generator) -> Image:
    """With ``light`` of the light, and the noise that a camera adds there (deviation 4 of 255)."""
    return np.asarray(np.clip(image * light + random.normal(0, 4, image.shape), 0, 255), np.uint8)


def occluded(image: Image, share: float) -> Image:
    """The lower ``share`` covered, as by a hand or a mask."""
    covered: Image = image.copy()
    covered[round(len(image) * (1 - share)) :] = 110
    return covered


def misheard(words: Sequence[str], rate: float, vocabulary: Sequence[str], random: np.random.Generator) -> list[str]:
    """With ``rate`` word errors: of ten, six are another word, three are lost and one is added."""
    out: list[str] = []
    for word in words:
        kind = random.random()
        if kind >= rate:
            out.append(word)
        elif kind < 0.6 * rate:
            out.append(vocabulary[int(random.integers(len(vocabulary)))])
        elif kind >= 0.9 * rate:
            out += [word, vocabulary[int(random.integers(len(vocabulary)))]]
    return out


def thinned(track: TokenTrack, share: float, random: np.random.Generator) -> TokenTrack:
    """Without a random ``share`` of its tokens."""
    return replace(track, valid=track.valid & (random.random(len(track.valid)) >= share))


def late(track: TokenTrack, end_s: float, lag_s: float) -> TokenTrack:
    """What has arrived at ``end_s`` when everything arrives ``lag_s`` late."""
    return replace(track, valid=track.valid & (track.end_s <= end_s - lag_s + 1e-9))


def _clipped(samples: Sound) -> Sound:
    return np.asarray(np.clip(samples, -1, 1), np.float32)
