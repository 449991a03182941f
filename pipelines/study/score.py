"""Scores one encoder on labelled data that it has not seen; prints one JSON object.

``python -m pipelines.score audio|face|text MODEL --data PATH``. MODEL is an ONNX file of ``edge_mer/models`` or the
folder that holds it; PATH a file or folder of a layout that ``data.labelled`` knows. Labels are mapped by name;
classes that the data lacks are left out, of the answers too; calm is neutral unless model and data both have it. What
the model cannot answer (no face found, no word) counts as wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.errors import EdgeMerError, ModelError
from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN, TOKEN_SAMPLES, inputs_of
from edge_mer.perception.detect import FaceDetector
from edge_mer.perception.encoder import TextSegment, Word
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.text_adapter import open_text
from edge_mer.perception.voice import LOG_MEL
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.backend import Arrays, Graph
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.labelled import SYNONYM, Kind, Labelled, read
from pipelines.encoders.audio_frames import clip_of
from pipelines.encoders.voice_windows import frames_of, recorded_tokens, window

Posterior = NDArray[np.float64]
FILES: Final[Mapping[Kind, str]] = {"audio": "audio.onnx", "face": "face.onnx", "text": "text.onnx"}
UNANSWERED: Final = "unanswered"


def voice(graph: Graph, folder: Path, data: Labelled, yunet: Path | None) -> Callable[[Any], Posterior | None]:
    """Of a clip: the logits of its voiced tokens, by their weights."""
    windows = _half_seconds if LOG_MEL in graph.inputs else partial(_eighths, graph)

    def posterior(samples: NDArray[np.float32]) -> Posterior | None:
        if len(samples) < TOKEN_SAMPLES:
            return None
        parts = [graph.run(inputs) for inputs in windows(np.clip(samples, -1, 1))]
        share = _softmax(np.array([p["weight"].item() for p in parts]))
        return _softmax(share @ np.concatenate([p["logits"] for p in parts]).astype(np.float64))

    return posterior


def _half_seconds(samples: NDArray[np.float32]) -> Iterator[Arrays]:
    """The inputs of the voiced tokens of a clip at two per second, the last one filled up with silence."""
    frames = frames_of(samples)
    yield from ({LOG_MEL: window(frames, int(token))} for token in recorded_tokens(frames))


def _eighths(graph: Graph, samples: NDArray[np.float32]) -> Iterator[Arrays]:
    """The same at eight per second, for a graph of log-mel and pitch."""
    clip = clip_of(samples, 0)
    starts = FRAMES_PER_TOKEN * np.flatnonzero(clip.voiced)
    yield from (inputs_of(graph, clip.frames[s : s + CONTEXT_FRAMES]) for s in starts)


def expression(graph: Graph, folder: Path, data: Labelled, yunet: Path | None) -> Callable[[Any], Posterior | None]:
    """Of a crop, which FER2013 labels by the words of a search, what they would be; of frames the mean posterior over
    those with exactly one clear face."""
    crops = "search" if "search" in graph.outputs else "posterior"
    finder: FaceDetector | None = None

    def posterior(content: Any) -> Posterior | None:
        nonlocal finder
        if isinstance(content, np.ndarray):
            crop = content[None, None].astype(np.float32) / np.float32(255)
            return np.asarray(graph.run({"face": crop})[crops][0], np.float64)
        finder = finder or detector(OnnxRuntime(), folder, yunet)
        encoder, found = FaceEncoder(graph, finder), []
        state = encoder.initial()
        for frame in content:
            state, tokens = encoder.step(state, frame)
            found += list(tokens.values[tokens.valid])
        return np.mean(found, 0, np.float64) if found else None

    return posterior


def words(graph: Graph, folder: Path, data: Labelled, yunet: Path | None) -> Callable[[Any], Posterior | None]:
    """Of a text: the head of its domain, over its newest sub-words, as on the device."""
    reader = open_text(graph, folder)
    domain = list(graph.metadata["domains"]).index(data.domain)

    def posterior(text: str) -> Posterior | None:
        inputs = reader.inputs(TextSegment(0, tuple(Word(w, 0, 0) for w in text.split()), True))
        if not inputs["mask"].any():
            return None
        return _softmax(graph.run(inputs)["emotion"][0, domain].astype(np.float64))

    return posterior


READERS: Final = {"audio": voice, "face": expression, "text": words}
OUTPUTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "audio": ("logits", "weight"),
    "face": ("posterior",),
    "text": ("emotion",),
}


def score(kind: Kind, model: Path, path: Path, split: str | None = None, yunet: Path | None = None) -> dict[str, Any]:
    """Figures of one encoder. Raises an EdgeMerError for a model or data that do not fit."""
    model = model / FILES[kind] if model.is_dir() else model
    graph = OnnxRuntime().load(model)
    if absent := [name for name in OUTPUTS[kind] if name not in graph.outputs]:
        raise ModelError(
            f"{model}: it has no output {', '.join(absent)}; expected {FILES[kind]} of pipelines.exporting.export"
        )
    data = read(kind, path, split)
    classes = list(graph.metadata.get("classes", EMOTIONS))
    labels = {row.label for row in data.rows}
    calm = "calm" in labels and "calm" in classes
    ours = [*EMOTIONS[:1], "calm", *EMOTIONS[1:]] if calm else list(EMOTIONS)
    present = [e for e in ours if e in {_named(label, calm) for label in labels}]
    answer = READERS[kind](graph, model.parent, data, yunet)
    columns = [_named(name, calm) for name in classes]
    truth, guess = [], []
    for row in data.rows:
        posterior = answer(row.content())
        truth.append(present.index(_named(row.label, calm)))
        if posterior is None:
            guess.append(len(present))
        else:
            guess.append(int(np.argmax([posterior[[c == e for c in columns]].sum() for e in present])))
    table = metrics.confusion(np.array(truth), np.array(guess), len(present) + 1)
    return {
        "model": model.name,
        "sha256": graph.sha256,
        "data": str(path),
        "split": data.split,
        "rows": len(truth),
        "left_out": dict(data.left_out),
        UNANSWERED: guess.count(len(present)),
        "accuracy": round(metrics.accuracy(table), 4),
        "uar": round(metrics.uar(table), 4),
        "macro_f1": round(metrics.macro_f1(table), 4),
        "weighted_f1": round(metrics.weighted_f1(table), 4),
        "classes": present,
        "confusion": table[:-1].tolist(),
    }


def _named(label: str, calm: bool) -> str:
    """``label`` of the data or of the model by our names."""
    name = SYNONYM[label]
    return "neutral" if name == "calm" and not calm else name


def _softmax(logits: NDArray[np.floating[Any]]) -> Posterior:
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return np.asarray(e / e.sum(), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=tuple(READERS))
    parser.add_argument("model", type=Path, help="an ONNX file of edge_mer/models, or its folder")
    parser.add_argument("--data", type=Path, required=True, help="an .npz, a .csv(.gz), or a folder with labels.csv")
    parser.add_argument("--split", help="only these rows; default: all but those of the split train")
    parser.add_argument("--yunet", type=Path, help="YuNet file for OpenCV; default: the one beside the model")
    a = parser.parse_args()
    try:
        print(json.dumps(score(a.kind, a.model, a.data, a.split, a.yunet)), flush=True)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
