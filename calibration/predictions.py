"""What the fusion graphs say of the validation windows, one window at a time as on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.validation import Validation
from edge_mer.contract.domain import COMBINATIONS, Combination, modalities_of
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import UNKNOWN, ravdess, sentences
from pipelines.exporting.export import MEASURED
from pipelines.fusion.scores import ScoredWindow, cases, last_window
from pipelines.fusion.token_encoders import TokenEncoders
from pipelines.fusion.windows import Example
from pipelines.study.evaluate import run


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Of one combination: ``emotion`` where somebody labelled it; ``error`` [k] of sentiment and its ``error_groups``.

    ``subsets``: emotion logits of its measured subsets on the same windows, where it was not measured itself.
    """

    windows: str
    measured: bool
    emotion: Validation
    error: NDArray[np.float64]
    error_groups: NDArray[np.str_]
    subsets: Mapping[Combination, Validation] = field(default_factory=dict)


def graphs_of(models: Path) -> dict[Combination, Graph]:
    backend = OnnxRuntime()
    return {c: backend.load(models / f"fusion.{c}.onnx") for c in COMBINATIONS}


def examples(root: Path, models: Path) -> tuple[list[Example], list[Example]]:
    """Clips and texts of the dev splits, through the shipped encoders: never trained on, by actor and dialogue."""
    encoders = TokenEncoders(models)
    return encoders.joint(ravdess(root, "dev")), encoders.texts(sentences(root, "dev"))


def predictions(
    graphs: Mapping[Combination, Graph],
    clips: Sequence[Example],
    texts: Sequence[Example],
    strangers: Sequence[Example] = (),
) -> dict[Combination, Predictions]:
    """Every combination on the windows that can be had for it, the voice alone on ``strangers`` too; raises
    CalibrationError where they are too poor."""
    found: dict[Combination, Predictions] = {}
    for c in COMBINATIONS:
        name, rows = cases(c, clips, texts)
        if c == "a" and strangers:
            name = f"{name}; voices of other corpora"
            rows = [*rows, *(ScoredWindow(last_window(e), e) for e in strangers)]
        labelled = [r for r in rows if r.truth.emotion != UNKNOWN]
        scored = [r for r in rows if not np.isnan(r.truth.score)]
        sentiment = run(graphs[c], c, scored).sentiment if scored else np.zeros(0, np.float32)
        score = np.array([r.truth.score for r in scored])
        found[c] = Predictions(
            windows=name,
            measured=c in MEASURED,
            emotion=_validation(c, graphs[c], labelled),
            error=np.abs(np.clip(sentiment, -3, 3) - score),
            error_groups=np.array([r.truth.group for r in scored]),
            subsets={} if c in MEASURED else {s: _validation(s, graphs[s], labelled) for s in measured_subsets(c)},
        )
    return found


def measured_subsets(c: Combination) -> list[Combination]:
    """The jointly measured combinations of some of the modalities of ``c``."""
    return [s for s in COMBINATIONS if s in MEASURED and set(modalities_of(s)) < set(modalities_of(c))]


def _validation(c: Combination, graph: Graph, rows: Sequence[ScoredWindow]) -> Validation:
    return Validation(
        c,
        run(graph, c, rows).logits.reshape(len(rows), -1),
        np.array([r.truth.emotion for r in rows], np.int64),
        np.array([r.truth.group for r in rows]),
    )
