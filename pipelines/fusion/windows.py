"""Training windows of 4 s: tokens of the three encoders, cut at random, thinned and paired.

Audio and video of one RAVDESS clip are joint. A text joins them only by its label (label-paired windows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.model import MCULoRAConfig
from edge_mer.model.mculora import Window
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.fusion.dpft import draw
from pipelines.fusion.sources import Batch

WINDOW_S: Final = 4.0
WORD_S: Final = 0.3
NEUTRAL: Final = EMOTIONS.index("neutral")
# The share of windows that lose tokens.
DROPPED: Final = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class TokenTrack:
    """Tokens of one modality: ``values`` float32 [n, d], ``end_s`` float64 [n], ``valid`` bool [n]; ``reason``: why the
    encoder says that the newest is not."""

    values: NDArray[np.float32]
    end_s: NDArray[np.float64]
    valid: NDArray[np.bool_]
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Tracks that were recorded together, with the targets that are annotated (else UNKNOWN, 9, NaN).

    ``group``: the actor, comment, dialogue or video; empty where no split needs it.
    """

    tracks: Mapping[Modality, TokenTrack]
    emotion: int = UNKNOWN
    ordinal: int = NO_ORDINAL
    score: float = float("nan")
    group: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TrainExamples:
    """What train windows are drawn from: clips with voice and face, faces, texts, and voices of each corpus."""

    joint: Sequence[Example]
    faces: Sequence[Example]
    texts: Sequence[Example]
    voices: Sequence[Sequence[Example]] = ()


Placed = Mapping[Modality, tuple[TokenTrack, float]]
"""A track per modality, and the time on it at which the window ends."""


def collate(
    placed: Sequence[Placed], config: MCULoRAConfig | None = None, drop: Sequence[float] | None = None, seed: int = 0
) -> dict[Modality, Window]:
    """Newest tokens of each window, right-aligned; ``drop`` is the share of tokens that each window loses."""
    random, config = np.random.default_rng(seed), config or MCULoRAConfig()
    windows: dict[Modality, Window] = {}
    for m in MODALITIES:
        size, dim = config.tokens[m], config.dims[m]
        tokens = np.zeros((len(placed), size, dim), np.float32)
        mask, age = (np.zeros((len(placed), size), np.float32) for _ in range(2))
        for row, sample in enumerate(placed):
            if m not in sample:
                continue
            track, end = sample[m]
            inside = track.valid & (track.end_s <= end + 1e-9) & (track.end_s > end - WINDOW_S)
            if drop is not None:
                inside &= random.random(len(inside)) >= drop[row]
            chosen = np.flatnonzero(inside)[-size:]
            if len(chosen):
                tokens[row, -len(chosen) :] = track.values[chosen]
                mask[row, -len(chosen) :], age[row, -len(chosen) :] = 1, end - track.end_s[chosen]
        windows[m] = Window(*(torch.from_numpy(x) for x in (tokens, mask, age)))
    return windows


def text_track(vectors: NDArray[np.float32]) -> TokenTrack:
    """A sentence spoken evenly at 0.3 s per word (0.2 s per sub-word), ending at 0."""
    n = len(vectors)
    return TokenTrack(vectors, np.arange(1.0 - n, 1.0) * (WORD_S * 2 / 3), np.ones(n, np.bool_))


class Sampler:
    """Draws training batches: labels evenly, combinations by ``shares``, everything seeded."""

    def __init__(
        self,
        examples: TrainExamples,
        config: MCULoRAConfig,
        token_dropout: float = 0.5,
        paired: float = 0.0,
        plain: float = 0.0,
    ) -> None:
        """``paired``: how often voice and face of a window are those of two people with the same label. ``plain``: how
        often the words beside them are neutral, whatever is expressed, as most words are."""
        self._config, self._token_dropout, self._paired, self._plain = config, token_dropout, paired, plain
        self._joint, self._faces, self._texts = (
            _by_label(some) for some in (examples.joint, examples.faces, examples.texts)
        )
        self._voices = [_by_label(corpus) for corpus in examples.voices]
        self._scored = [e for e in examples.texts if not np.isnan(e.score)]

    def batch(self, size: int, shares: NDArray[np.float64], random: np.random.Generator) -> Batch:
        """``shares`` [7] are the probabilities of COMBINATIONS, which decide what each window holds."""
        rows = [self._draw(COMBINATIONS[i], random) for i in draw(shares, size, random)]
        drop = random.uniform(0, self._token_dropout, size) * (random.random(size) < DROPPED)
        placed = [place for _, place, _ in rows]
        windows = collate(placed, self._config, drop.tolist(), int(random.integers(2**31)))
        targets = [example for _, _, example in rows]
        return Batch(
            windows,
            torch.tensor([COMBINATIONS.index(c) for c, _, _ in rows]),
            emotion=torch.tensor([e.emotion for e in targets]),
            score=torch.tensor([e.score for e in targets], dtype=torch.float32),
            ordinal=torch.tensor([e.ordinal for e in targets]),
        )

    def _draw(self, c: Combination, random: np.random.Generator) -> tuple[Combination, Placed, Example]:
        emotion = int(random.integers(7))
        placed: dict[Modality, tuple[TokenTrack, float]] = {}
        targets = Example({}, emotion)
        for clip in self._recorded(c, emotion, random):
            end = _end(clip, random)
            placed |= {m: (clip.tracks[m], end) for m in modalities_of(c) if m in clip.tracks}
        if "text" in modalities_of(c):
            # A text with a score has no emotion: it teaches sentiment beside any voice or face.
            scored = random.random() < 0.25
            words = NEUTRAL if c != "t" and random.random() < self._plain else emotion
            text = _any(self._scored if scored else self._texts[words], random)
            placed["text"] = (text.tracks["text"], random.uniform(0.0, 3.0))
            targets = Example({}, UNKNOWN if scored else emotion, text.ordinal, text.score)
        return c, placed, targets

    def _recorded(self, c: Combination, emotion: int, random: np.random.Generator) -> list[Example]:
        """The clip that a window of ``c`` is cut from: a voice or a face alone half of the time is of another set."""
        sources = [some for corpus in self._voices if (some := corpus[emotion])]
        both, other = {"audio", "video"} <= set(modalities_of(c)), random.random()
        if c == "t":
            return []
        if "audio" in modalities_of(c) and sources and other < (self._paired if both else 0.5):
            voice = _any(sources[int(random.integers(len(sources)))], random)
            return [voice, _any(self._faces[emotion], random)] if both else [voice]
        if not both and "video" in modalities_of(c) and other < 0.5:
            return [_any(self._faces[emotion], random)]
        return [_any(self._joint[emotion], random)]


def _by_label(examples: Sequence[Example]) -> list[list[Example]]:
    return [[e for e in examples if e.emotion == label] for label in range(7)]


def _any(examples: Sequence[Example], random: np.random.Generator) -> Example:
    return examples[int(random.integers(len(examples)))]


def _end(clip: Example, random: np.random.Generator) -> float:
    """A random end of the window: between 1.5 s into the clip and 0.5 s after it."""
    last = max(float(t.end_s[-1]) for t in clip.tracks.values())
    return float(random.uniform(min(1.5, last), last + 0.5))
