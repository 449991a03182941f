"""The scenes of ``edge-mer demo``: composite faces with recorded words. ``python -m pipelines.demo OUT --data DATA``.

Every scene ends with an empty picture, so that estimates rest on one scene alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import Emotion
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.demo.scenes import FILE, MEDIA, WORDS, Scene, Scenes
from pipelines.data.corpora import UNKNOWN
from pipelines.data.faces import fer2013_votes
from pipelines.demo.composite import Actor, composites, empty_room, frames
from pipelines.demo.media import FPS, write

SCENE_S: Final = 6.0
# Longer than the face encoder follows a face that is gone.
EMPTY_S: Final = 1.2
SPOKEN_S: Final = (0.4, 2.4)
SEED: Final = 20_261_127
BIT_RATE: Final = 700_000
# Root mean square of the noise of a quiet room, of 32,768.
NOISE: Final = 40.0


@dataclass(frozen=True, slots=True)
class Line:
    """What a scene intends to express, the words that go with it, how the face moves, and from which expression."""

    intended: Emotion
    words: str
    actor: Actor
    rest: Emotion = "neutral"


# The share of ten votes from which on a picture is used.
AGREED: Final = 0.9

SCRIPT: Final = (
    Line("neutral", "the meeting is on monday at ten", Actor(0.0, 0.8), rest="surprise"),
    Line("happy", "i am so happy this is wonderful", Actor(1.3, 0.75)),
    Line("sad", "i feel so sad and lonely now", Actor(2.0, 0.85)),
    Line("surprise", "wow really i did not expect that", Actor(4.1, 0.75)),
)


def scenes() -> Scenes:
    found = []
    for index, line in enumerate(SCRIPT):
        begin = index * SCENE_S
        found.append(Scene(line.intended, line.words, begin, begin + SCENE_S))
    return Scenes(duration_s=len(SCRIPT) * SCENE_S, scenes=tuple(found))


def transcript() -> dict[str, object]:
    """As ``pipelines.demo.media.transcript``; the words of a scene share its speaking time evenly."""
    segments = []
    for index, line in enumerate(SCRIPT):
        words = line.words.split()
        times = (index * SCENE_S + np.linspace(*SPOKEN_S, len(words) + 1)).round(3).tolist()
        segments.append({"words": [list(word) for word in zip(words, times[:-1], times[1:], strict=True)]})
    return {"schema": "edge_mer.transcript/1", "duration_s": len(SCRIPT) * SCENE_S, "segments": segments}


def pictures(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """All frames, from training pictures uint8 [n, 48, 48] and their labels [n]."""
    faces = composites(images, labels)
    empty = round(EMPTY_S * FPS)
    shown = round(SCENE_S * FPS) - empty
    for index, line in enumerate(SCRIPT):
        seed = SEED + index
        acted = frames(faces[line.rest], faces[line.intended], line.actor, shown, FPS, seed)
        yield from chain(acted, empty_room(empty, seed))


def room_tone() -> NDArray[np.int16]:
    """The noise of a quiet room, int16 [n]: nobody speaks."""
    noise = np.random.default_rng(SEED).normal(0, NOISE, round(len(SCRIPT) * SCENE_S * SAMPLE_RATE))
    return np.round(noise).astype(np.int16)


def write_scenes(out: Path, data: Path) -> Path:
    """Raises DataError when FER2013 or FERPlus is not below ``data``."""
    faces = fer2013_votes(data, "train")
    clear = (faces.votes.max(1) >= AGREED) & (faces.majority != UNKNOWN)
    write(out / MEDIA.name, room_tone(), pictures(faces.images[clear], faces.majority[clear]), BIT_RATE)
    (out / WORDS.name).write_text(json.dumps(transcript(), indent=1) + "\n", "utf-8")
    (out / FILE.name).write_text(scenes().to_json(), "utf-8")
    return out / MEDIA.name
