"""Scores the shipped ONNX files on the dev splits, through the code that runs on the device.

``python -m pipelines.evaluate`` prints one JSON object per file; the model cards quote it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer import metrics
from edge_mer.domain import COMBINATIONS, Combination, modalities_of
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text import SentencePiece
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines import tracks
from pipelines.data import DEFAULT_ROOT, fer2013, ravdess, sentences
from pipelines.export import FILES, MODELS
from pipelines.nets import CLASSES
from pipelines.scores import Case, Predicted, cases, figures
from pipelines.windows import collate

Figures = Mapping[str, Mapping[str, float]]


def face(root: Path, models: Path) -> Figures:
    """The expression network on FER2013 PublicTest."""
    graph, faces = OnnxRuntime().load(models / FILES["video"]), fer2013(root, "dev")
    crops = faces.images[:, None, None].astype(np.float32) / np.float32(255)
    guess = np.array([graph.run({"face": crop})["posterior"][0].argmax() for crop in crops])
    table = metrics.confusion(faces.labels, guess, CLASSES)
    return {
        "fer2013 public_test": {
            "accuracy": round(metrics.accuracy(table), 4),
            "uar": round(metrics.uar(table), 4),
            "macro_f1": round(metrics.macro_f1(table), 4),
        }
    }


def fusion(root: Path, models: Path) -> Mapping[str, Figures]:
    """Every combination on the windows that can be had for it; label-paired ones are named so."""
    backend = OnnxRuntime()
    ear = load_encoder("audio", backend, models)
    reader, tokenizer = backend.load(models / FILES["text"]), SentencePiece(models / "text.spm")
    clips = tracks.joint(ear, ravdess(root, "dev"))
    texts = tracks.texts(reader, tokenizer, sentences(root, "dev"))
    results: dict[str, Figures] = {}
    for c in COMBINATIONS:
        graph = backend.load(models / f"fusion.{c}.onnx")
        name, rows = cases(c, clips, texts)
        results[f"fusion.{c}.onnx"] = {name: figures(c, rows, run(graph, c, rows))}
    return results


def run(graph: Graph, c: Combination, rows: Sequence[Case]) -> Predicted:
    """The graph on each row, one window at a time as on the device."""
    logits, sentiment = [], []
    for row in rows:
        inputs: dict[str, NDArray[np.float32]] = {}
        for m, window in collate([row.placed]).items():
            if m in modalities_of(c):
                inputs |= {m: window.tokens.numpy(), f"{m}_mask": window.mask.numpy(), f"{m}_age": window.age.numpy()}
        out = graph.run(inputs)
        logits.append(out["logits"][0])
        sentiment.append(out["sentiment"][0, 0])
    return Predicted(np.array(logits), np.array(sentiment))


WHAT: Mapping[str, Callable[[Path, Path], Mapping[str, Any]]] = {
    "face": lambda root, models: {FILES["video"]: face(root, models)},
    "fusion": fusion,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description=__doc__)
    parser.add_argument("what", nargs="*", default=list(WHAT), help=f"of {', '.join(WHAT)}; all by default")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    for what in arguments.what:
        for name, result in WHAT[what](arguments.data, arguments.models).items():
            print(json.dumps({"file": name, "dev": result}), flush=True)


if __name__ == "__main__":
    main()
