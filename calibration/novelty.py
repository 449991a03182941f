"""Fits edge_mer.fusion.novelty: what the windows of a modality look like, and how far nearly all of them lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from calibration.conformal import limit
from calibration.corruptions import noisy
from calibration.validation import FEWEST, CalibrationError, folds
from edge_mer.contract.domain import Modality
from edge_mer.fusion.novelty import Gaussian, Novelty, describe
from edge_mer.perception.encoder import AudioBlock, Encoder
from edge_mer.perception.text import Tokenizer
from pipelines.data.corpora import Sentence, Speech
from pipelines.encoders.text_input import bare
from pipelines.fusion.scores import cases
from pipelines.fusion.tracks import audio_track
from pipelines.fusion.windows import Example, collate

# Share of held-out real windows that stay familiar.
LEVEL: Final = 0.95
# How far below the voice the noise of an ordinary room lies, in dB: a voice in it is not another world.
ROOM_DB: Final = (15.0, 30.0)
Floats = NDArray[np.float64]


def fit(modality: Modality, described: Floats, groups: NDArray[np.generic], level: float = LEVEL) -> Novelty:
    """A Gaussian with shrunk covariance (Ledoit and Wolf 2004) over descriptions [n, k].

    Its limit is a conformal one, of windows whose group (actor, dialogue) the Gaussian had not seen. Raises
    CalibrationError with figures for too few windows or groups, and for NaN or Inf.
    """
    n, count = len(described), len(np.unique(groups))
    if n < FEWEST or count < 2:
        raise CalibrationError(f"novelty of {modality}: {n} windows of {count} groups, expected at least {FEWEST} of 2")
    if wrong := int((~np.isfinite(described).all(1)).sum()):
        raise CalibrationError(f"novelty of {modality}: {wrong} of {n} windows hold NaN or Inf")
    held = np.empty(n)
    for fitted, judged in folds(groups):
        part = _gaussian(modality, described[fitted], n, count, level)
        held[judged] = [part.distance(row) for row in described[judged]]
    whole = _gaussian(modality, described, n, count, level)
    return Novelty(modality, whole.mean, whole.whiten, limit(held, level), level, n, count)


def _gaussian(modality: Modality, described: Floats, n: int, groups: int, level: float) -> Novelty:
    """With a limit of 1, so that its distances can be taken."""
    found = gaussian(described)
    return Novelty(modality, found.mean, found.whiten, 1.0, level, n, groups)


def gaussian(described: Floats) -> Gaussian:
    """With shrunk covariance, of descriptions [n, k]."""
    shrunk = LedoitWolf().fit(described)
    factor = np.linalg.inv(np.linalg.cholesky(shrunk.covariance_))
    rows = tuple(tuple(float(f"{v:.6g}") for v in factor[i, : i + 1]) for i in range(len(factor)))
    return Gaussian(tuple(float(f"{v:.6g}") for v in shrunk.location_), rows)


def of_clips(modality: Modality, clips: Sequence[Example]) -> tuple[Floats, NDArray[np.str_]]:
    """Descriptions and groups of the windows on which confidence is fitted; those too short to tell are left out."""
    rows = cases("a" if modality == "audio" else "v", clips, ())[1]
    described, groups = [], []
    for row in rows:
        window = collate([row.placed])[modality]
        there = window.mask[0].numpy() > 0
        found = describe(modality, window.tokens[0].numpy()[there], window.age[0].numpy()[there])
        if found is not None:
            described.append(found)
            groups.append(row.truth.group)
    return np.array(described), np.array(groups)


def in_rooms(encoder: Encoder[Any, AudioBlock], clips: Sequence[Speech], seed: int = 0) -> list[Example]:
    """The voice of each clip beside noise, ROOM_DB below it."""
    random, found = np.random.default_rng(seed), []
    for clip in clips:
        track = audio_track(encoder, noisy(random.uniform(*ROOM_DB), clip.samples(), random))
        found.append(Example({"audio": track}, clip.emotion, group=f"actor {clip.actor}"))
    return found


def of_texts(tokenizer: Tokenizer, sentences: Sequence[Sentence], capacity: int) -> tuple[Floats, NDArray[np.str_]]:
    """The same of texts: only how their words split matters."""
    described = [(describe_text(tokenizer, s.text, capacity), s.group) for s in sentences]
    kept = [(d, g) for d, g in described if d is not None]
    return np.array([d for d, _ in kept]), np.array([g for _, g in kept])


def describe_text(tokenizer: Tokenizer, text: str, capacity: int) -> Floats | None:
    """Of the newest ``capacity`` sub-words of a text."""
    word_of = [i for i, word in enumerate(bare(text).split()) for _ in tokenizer(word)][-capacity:]
    return describe("text", np.zeros((len(word_of), 1)), np.array(word_of, np.float64))
