"""Scores models; prints one JSON object per file.

``python -m pipelines.evaluate [face] [text] [fusion]``: the shipped ONNX files on the dev splits, through the code that
runs on the device; the model cards quote it. ``python -m pipelines.evaluate CHECKPOINT.safetensors --data FILE.npz``: a
checkpoint of ``pipelines.train CONFIG.toml`` on any file of its set's layout.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, Combination, modalities_of
from edge_mer.contract.errors import EdgeMerError
from edge_mer.model import MCULoRAConfig
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import DEFAULT_ROOT, DataError, fer2013, ravdess, sentences
from pipelines.data.feature_specs import combinations_of, layout_of
from pipelines.encoders.nets import CLASSES
from pipelines.encoders.shipped import FILES, MODELS
from pipelines.fusion import saved, starter
from pipelines.fusion.estimates import answers
from pipelines.fusion.estimates import figures as set_figures
from pipelines.fusion.predictor import predictor
from pipelines.fusion.scores import Predicted, ScoredWindow, cases, figures
from pipelines.fusion.token_encoders import TokenEncoders
from pipelines.fusion.windows import collate
from pipelines.study import words

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
    encoders = TokenEncoders(models)
    clips, texts = encoders.joint(ravdess(root, "dev")), encoders.texts(sentences(root, "dev"))
    results: dict[str, Figures] = {}
    for c in COMBINATIONS:
        graph = backend.load(models / f"fusion.{c}.onnx")
        name, rows = cases(c, clips, texts)
        results[f"fusion.{c}.onnx"] = {name: figures(c, rows, run(graph, c, rows))}
    return results


def run(graph: Graph, c: Combination, rows: Sequence[ScoredWindow]) -> Predicted:
    """The graph on each row, one window at a time as on the device."""
    logits, sentiment, config = [], [], config_of(graph)
    for row in rows:
        out = graph.run(inputs_of(c, row, config))
        logits.append(out["logits"][0])
        sentiment.append(out["sentiment"][0, 0])
    return Predicted(np.array(logits), np.array(sentiment))


def config_of(graph: Graph) -> MCULoRAConfig:
    """The tokens and widths that a fusion graph takes."""
    device = MCULoRAConfig()
    tokens, dims = ({**getattr(device, name), **graph.metadata[name]} for name in ("tokens", "dims"))
    return MCULoRAConfig(tokens=tokens, dims=dims)


def inputs_of(c: Combination, row: ScoredWindow, config: MCULoRAConfig) -> dict[str, NDArray[np.float32]]:
    """One window as the graph of ``c`` takes it; ``config`` as ``config_of`` gives it."""
    inputs: dict[str, NDArray[np.float32]] = {}
    for m, window in collate([row.placed], config).items():
        if m in modalities_of(c):
            inputs |= {m: window.tokens.numpy(), f"{m}_mask": window.mask.numpy(), f"{m}_age": window.age.numpy()}
    return inputs


WHAT: Mapping[str, Callable[[Path, Path], Mapping[str, Any]]] = {
    "face": lambda root, models: {FILES["video"]: face(root, models)},
    "text": lambda root, models: {FILES["text"]: words.score(root, models)},
    "fusion": fusion,
}


def checkpoint(path: Path, data: Path, split: str | None = None, combinations: str | None = None) -> dict[str, Any]:
    """Figures of a trained checkpoint by column; ``data`` is a file, or the folder of all sets.

    On the file that trained it only the split ``dev``, which chose it, is scored unless ``split`` says otherwise; of
    another file everything. ``combinations`` leaves out others, the rates, and the modalities that only those need.
    Raises DataError for a file that does not fit.
    """
    kept = saved.load(path)
    chosen = combinations_of(layout_of(kept.experiment.data), combinations)
    used = {m for c in chosen for m in modalities_of(c)}
    rows = starter.open_rows(kept.experiment.data, data, only=used)
    if split is None and rows.sha256 == kept.facts["data_sha256"] and (rows.split == "dev").any():
        split = "dev"
    index = np.flatnonzero(rows.split == split) if split is not None else np.arange(len(rows))
    if not len(index):
        raise DataError(f"{data}: no rows of the split {split!r}; it has {', '.join(np.unique(rows.split))}")
    answered = answers(
        rows.layout,
        predictor(kept.model(), rows, index, kept.scales),
        len(index),
        None if combinations is None else chosen,
    )
    found = {c: set_figures(rows, index, answered.emotion[c], answered.sentiment[c]) for c in answered.emotion}
    return {
        "file": path.name,
        "data": kept.experiment.data,
        "sha256": rows.sha256,
        "split": split,
        "rows": len(index),
        "figures": {c: {name: round(value, 4) for name, value in f.items()} for c, f in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="*",
        default=["face", "fusion"],
        help=f"of {', '.join(WHAT)} (face and fusion by default), or .safetensors files",
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--split", help="only these rows of a feature set")
    parser.add_argument("--combinations", help="only these, comma-separated: a,t,atv")
    arguments = parser.parse_args()
    for what in arguments.what:
        if what in WHAT:
            for name, result in WHAT[what](arguments.data, arguments.models).items():
                print(json.dumps({"file": name, "dev": result}), flush=True)
            continue
        try:
            print(
                json.dumps(checkpoint(Path(what), arguments.data, arguments.split, arguments.combinations)), flush=True
            )
        except EdgeMerError as error:
            raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
