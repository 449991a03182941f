"""Tokens of damaged recordings through the device's own encoders, kept under ``runs/`` for a second run.

Not by ``pipelines.data.cache``: that takes a file of the same path and size for the same, as new weights often are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from calibration import corruptions as damage
from calibration import ood_samples as material
from edge_mer import perception
from edge_mer.perception.encoder import AudioBlock, TextSegment, VideoFrame, Word
from edge_mer.perception.face import SHARP, SLOT_US, sharpness
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data import recordings
from pipelines.data.files import draft
from pipelines.demo import face as demo_face
from pipelines.demo import voice as demo_voice
from pipelines.encoders import audio_augment as sound
from pipelines.encoders import face_augment
from pipelines.encoders.face_augment import jitter
from pipelines.encoders.shipped import FILES
from pipelines.fusion import windows
from pipelines.fusion.windows import WORD_S, TokenTrack

FRAMES: Final = 10
# Whose code decides on the tokens, beside the encoders' and this file's.
MODULES: Final = (damage, demo_face, demo_voice, face_augment, material, recordings, sound, windows)


def made_by(models: Path, data: Path) -> str:
    """Names what decides on tokens: weights, code, and where the recordings are."""
    weights = sorted(f for name in ("audio", "face", "speech", "text") for f in models.glob(f"{name}.*"))
    encoders = sorted(p for p in Path(perception.__file__).parent.glob("*.py") if p.name != "__init__.py")
    stamp = hashlib.sha256(str(data.absolute()).encode())
    for path in [*weights, *encoders, *(Path(m.__file__ or "") for m in MODULES), Path(__file__)]:
        stamp.update(path.read_bytes())
    return stamp.hexdigest()


class Encodings:
    """``tracks(name, make)``: what ``make`` gives, from the cache where it was made by the same (``made_by``)."""

    def __init__(self, models: Path, data: Path, cache: Path) -> None:
        self._models, self._cache = models, cache
        backend = OnnxRuntime()
        self.audio = load_encoder("audio", backend, models)
        self.reader = load_encoder("text", backend, models)
        self._face = backend.load(models / FILES["video"])
        self._made_by = made_by(models, data)

    def tracks(self, name: str, make: Callable[[], Iterable[TokenTrack]]) -> list[TokenTrack]:
        key = hashlib.sha256(f"{name} {self._made_by}".encode()).hexdigest()[:24]
        path = self._cache / f"{key}.npz"
        if path.is_file():
            return _read(path)
        made = list(make())
        with draft(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                length=[len(t.values) for t in made],
                values=np.concatenate([t.values for t in made]),
                end_s=np.concatenate([t.end_s for t in made]),
                valid=np.concatenate([t.valid for t in made]),
            )
        return made

    def audio_track(self, samples: NDArray[np.float32]) -> TokenTrack:
        _, tokens = self.audio.step(self.audio.initial(), AudioBlock(samples, 0))
        return TokenTrack(tokens.values, tokens.end_us / 1e6, tokens.valid)

    def read(self, words: Sequence[str]) -> TokenTrack:
        """Words spoken one every 0.3 s, the last ending at 0."""
        starts = [round((i - len(words)) * WORD_S * 1e6) for i in range(len(words) + 1)]
        spoken_words = tuple(Word(w, a, b) for w, a, b in zip(words, starts[:-1], starts[1:], strict=True))
        state, tokens = self.reader.step(self.reader.initial(), TextSegment(0, spoken_words, True))
        return TokenTrack(tokens.values, tokens.end_us / 1e6, tokens.valid, getattr(state, "reason", ""))

    def watched(self, film: Sequence[VideoFrame]) -> TokenTrack:
        """A film from its first frame on, through detection, face track and expression."""
        eye = load_encoder("video", OnnxRuntime(), self._models)
        state, found = eye.initial(), []
        for frame in film:
            state, tokens = eye.step(state, VideoFrame(frame.image, frame.origin_us - film[0].origin_us))
            found.append(tokens)
        return TokenTrack(
            np.concatenate([t.values for t in found]),
            np.concatenate([t.end_us for t in found]) / 1e6,
            np.concatenate([t.valid for t in found]),
        )

    def looked_at(self, face: NDArray[np.uint8], seed: int) -> TokenTrack:
        """A cut-out face [48, 48] for 2 s: the same picture, its box and the light trembling as those of a film do."""
        random = torch.Generator().manual_seed(seed)
        frames = jitter(torch.from_numpy(face).float()[None, None].expand(FRAMES, -1, -1, -1) / 255, random).numpy()
        values = np.concatenate([self._face.run({"face": frame[None]})["posterior"] for frame in frames])
        valid = np.array([sharpness(frame[0]) >= SHARP for frame in frames])
        return TokenTrack(values, np.arange(FRAMES) * SLOT_US / 1e6, valid)


def _read(path: Path) -> list[TokenTrack]:
    with np.load(path, allow_pickle=False) as file:
        edges = np.cumsum(file["length"])[:-1]
        parts = [np.split(file[name], edges) for name in ("values", "end_s", "valid")]
    return [TokenTrack(v, e, ok) for v, e, ok in zip(*parts, strict=True)]
