"""What the product says of neutral speech of strangers: the published label, wrong, neutral or withheld.

The speakers are those kept from every training and from the fit of confidence (``pipelines.data.voices.reserved``);
they settle one number, the prior of the voice encoder's own logits, which fusion does not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.predictions import graphs_of
from calibration.simulate_output import publish
from calibration.strangers import Row, interval
from edge_mer.fusion.calibration import read, weights_of
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.voices import DEV_FOLD, NEUTRAL, Voice, fold_of, reserved, voices
from pipelines.fusion.scores import last_window
from pipelines.fusion.tracks import audio_track
from pipelines.fusion.windows import Example

MOST_WRONG, LEAST_NEUTRAL = 0.03, 0.5


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """Of each set: windows labelled neutral, labelled otherwise, and without a label."""
    graphs, voice = graphs_of(models), load_encoder("audio", OnnxRuntime(), models)
    model = GraphFusionModel(graphs, read(models, weights_of(graphs)))
    everyone = voices(root)
    apart = reserved(everyone) & (fold_of(everyone) != DEV_FOLD)
    said: dict[str, list[tuple[str, str | None]]] = {}
    for v, kept in zip(everyone, apart, strict=True):
        if kept:
            example = Example({"audio": audio_track(voice, v.samples())})
            said.setdefault(group_of(v), []).append((v.speaker, publish(model, last_window(example)).label))
    for name, found in said.items():
        speakers, labels = zip(*found, strict=True)
        n = f"{len(found)} ({len(set(speakers))})"
        shares = {
            "labelled neutral": [label == "neutral" for label in labels],
            "labelled wrongly": [label not in ("neutral", None) for label in labels],
            "no label": [label is None for label in labels],
        }
        for what, share in shares.items():
            value, low, high = interval(np.array(share, np.float64), speakers)
            yield Row(f"product, {name}: {what}", value, low, high, n, *verdict(what, value))


def verdict(what: str, value: float) -> tuple[str, bool | None]:
    """The target of issue 16, and whether ``value`` reaches it."""
    if what == "labelled neutral":
        return f">= {LEAST_NEUTRAL:.2f}", value >= LEAST_NEUTRAL
    return (f"<= {MOST_WRONG:.2f}", value <= MOST_WRONG) if what == "labelled wrongly" else ("", None)


def group_of(voice: Voice) -> str:
    """The set, and children apart."""
    assert voice.corpus in NEUTRAL
    return f"{voice.corpus}, children" if voice.child else voice.corpus
