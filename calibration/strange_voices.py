"""Voices beside RAVDESS's dev actors that confidence is fitted on: other people, and corpora nobody trained on.

Four actors of one studio say little of a new person. Dev speakers of other corpora come through the encoder of the
device; a whole corpus of actors by a head that was trained without it (``pipelines.data.unseen``), as nobody can keep
one apart from training for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edge_mer.perception.load import load_encoder
from edge_mer.perception.voice import VoiceEncoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.unseen import ABROAD, Unseen
from pipelines.data.voices import DEV_FOLD, fold_of, voices
from pipelines.encoders.shipped import FILES
from pipelines.fusion.voices import recorded, through
from pipelines.fusion.windows import Example

# At most as many windows of each corpus, near or abroad, as there are of RAVDESS's dev actors.
MOST: Final = 240


def abroad(root: Path, models: Path, runs: Path) -> list[Example]:
    """Corpora by heads that were trained without them; none where the encoder has no such file. Raises DataError."""
    named = OnnxRuntime().load(models / FILES["audio"]).metadata.get("abroad")
    if not named:
        return []
    found = recorded(Unseen.read(runs / ABROAD, voices(root), str(named)))
    return [e for some in _by_corpus(found).values() for e in _some(some)]


def near(root: Path, models: Path) -> list[Example]:
    """Dev speakers of all corpora but RAVDESS through the encoder of the device; none where that was trained on RAVDESS
    alone."""
    voice = load_encoder("audio", OnnxRuntime(), models)
    if not isinstance(voice, VoiceEncoder):
        return []
    everyone = voices(root)
    fold = fold_of(everyone)
    dev = [v for v, f in zip(everyone, fold, strict=True) if f == DEV_FOLD and v.corpus != "ravdess"]
    return [e for some in _by_corpus(through(voice, dev)).values() for e in _some(some)]


def _by_corpus(examples: Sequence[Example]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for e in examples:
        found.setdefault(e.group.split()[0], []).append(e)
    return found


def _some(examples: Sequence[Example]) -> list[Example]:
    order = np.random.default_rng(0).permutation(len(examples))[:MOST]
    return [examples[i] for i in sorted(order)]
