"""The scenes that ``edge-mer demo`` plays: what each intends to express, and the words that go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import Emotion

_ASSETS: Final = Path(__file__).parent / "assets"
MEDIA, WORDS, FILE = _ASSETS / "scenes.mkv", _ASSETS / "scenes.words.json", _ASSETS / "scenes.json"


class Scene(Struct, frozen=True):
    """One scene from ``begin_s`` to ``end_s`` of the clip; the face goes before the end."""

    intended: Emotion
    words: str
    begin_s: float
    end_s: float


class Scenes(Struct, frozen=True):
    """The clip of ``duration_s`` that repeats, and its scenes in order, without gaps."""

    duration_s: float
    scenes: tuple[Scene, ...]
    schema: str = "edge_mer.scenes/1"

    def at(self, position_s: float) -> Scene:
        """The scene at this position, counted over all laps."""
        place = position_s % self.duration_s
        return next((scene for scene in self.scenes if place < scene.end_s), self.scenes[-1])

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"


def bundled() -> Scenes:
    return msgspec.json.decode(FILE.read_bytes(), type=Scenes)
