"""INT8 forms of the models, with what they cost: ``python -m calibration.int8 [--models DIR] [--data DIR]``.

Ranges come from train data, the same number of windows for each combination; the cost is measured on dev. A form is
refused, and not written, where a measured combination loses more than 1 point. Writes ``<models>/int8`` and the section
INT8 of ``calibration/RESULTS.md``. Exit code 1 when the fusion graphs are refused.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibration import report
from calibration.cost import SPEECH, Costs, Yardstick, lost
from edge_mer.contract.domain import COMBINATIONS
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.modalities import ALL
from edge_mer.fusion.calibration import weights_of
from edge_mer.perception.audio_adapter import encoder_of
from edge_mer.perception.text_adapter import open_text
from edge_mer.runtime.backend import Arrays, Graph
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT, fer2013, ravdess, sentences
from pipelines.encoders.shipped import FILES, MODELS
from pipelines.exporting.export import GATHERED
from pipelines.exporting.onnx_file import GraphDraft, write
from pipelines.exporting.onnx_variants import FUSION, derived, golden_of, graph_files, reread
from pipelines.exporting.qdq import products, quantise
from pipelines.fusion import tracks
from pipelines.fusion.scores import cases
from pipelines.study.evaluate import config_of, inputs_of

WINDOWS: Final = 140
CLIPS, TEXTS = 160, 600
LIMIT: Final = 1.0
ENCODERS: Final = (*FILES.values(), SPEECH)
T = TypeVar("T")
Recorded = Mapping[str, Sequence[Arrays]]


@dataclass(slots=True, eq=False)
class InputRecorder:
    """A graph that keeps every ``stride``-th of its inputs, at most ``most``."""

    graph: Graph
    stride: int = 1
    most: int = 400
    seen: list[Arrays] = field(default_factory=list)
    count: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if self.count % self.stride == 0 and len(self.seen) < self.most:
            self.seen.append({n: np.array(x) for n, x in inputs.items()})
        self.count += 1
        return self.graph.run(inputs)


def record(root: Path, models: Path) -> Recorded:
    """Real inputs of every model, from train data: by file name."""
    backend, random = OnnxRuntime(), np.random.default_rng(0)
    audio, speech = (InputRecorder(backend.load(models / name), stride=17) for name in ("audio.onnx", "speech.onnx"))
    reader = InputRecorder(backend.load(models / "text.onnx"))
    clips = tracks.joint(encoder_of(audio, speech), _some(ravdess(root, "train"), CLIPS, random))
    texts = tracks.texts(open_text(reader, models), _some(sentences(root, "train"), TEXTS, random))
    faces = fer2013(root, "train").images[::71]
    found: dict[str, Sequence[Arrays]] = {
        "audio.onnx": audio.seen,
        "speech.onnx": speech.seen,
        "text.onnx": reader.seen,
        "face.onnx": [{"face": f[None, None].astype(np.float32) / np.float32(255)} for f in faces[:400]],
    }
    config = config_of(backend.load(models / f"{FUSION}{ALL}.onnx"))
    everything = inputs_of(ALL, cases(ALL, clips, texts)[1][0], config)
    gathered: list[Arrays] = []
    for index, c in enumerate(COMBINATIONS):
        _, some = cases(c, clips, texts)
        windows = [inputs_of(c, row, config) for row in _some(some, WINDOWS, random)]
        found[f"{FUSION}{c}.onnx"] = windows
        gathered += [_filled(w, index, everything) for w in windows]
    found[GATHERED] = gathered
    return found


def _some(rows: Sequence[T], count: int, random: np.random.Generator) -> list[T]:
    return [rows[i] for i in random.permutation(len(rows))[:count]]


def _filled(window: Arrays, combination: int, shapes: Arrays) -> Arrays:
    """A window of one combination as the gathered graph takes it: what is absent is zero."""
    absent = {name: np.zeros_like(x) for name, x in shapes.items() if name not in window}
    return {**window, **absent, "combination": np.array([combination])}


def quantised(path: Path, inputs: Sequence[Arrays]) -> GraphDraft:
    """The INT8 form of one FP32 file; its golden vectors are what ONNX Runtime makes of it."""
    draft = reread(path)
    chosen = [p for p in products(draft.model) if p.worthwhile]
    model = quantise(draft.model, chosen, inputs)
    form = derived(draft, model, "int8", path)
    return replace(form, expected=golden_of(model, form.ranges, "int8"))


def stage(place: Path, models: Path, forms: Path, names: Sequence[str]) -> Path:
    """A directory in which the files ``names`` are those of ``forms``, and the others those of ``models``."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(models, place, ignore=shutil.ignore_patterns("int8", "fp16"))
    for name in names:
        shutil.copy(forms / name, place / name)
    return place


def calibrate(root: Path, models: Path) -> Costs:
    """Make every INT8 form, measure it, and keep in ``<models>/int8`` what was not refused."""
    found = record(root, models)
    names = [p.name for p in graph_files(models) if p.name in found and read_model(p).precision == "fp32"]
    fusion = [n for n in names if n.startswith(FUSION)]
    with tempfile.TemporaryDirectory() as scratch:
        forms = Path(scratch) / "forms"
        drafts = {n: quantised(models / n, found[n]) for n in names}
        write(forms, [drafts[n] for n in names if n not in fusion])
        write(forms, [drafts[n] for n in fusion], "fusion.weights")
        weights = [p.name for p in forms.glob("*.weights")]
        parts = {**{n: [n] for n in names if n in ENCODERS}, "fusion": [*fusion, *weights]}
        yardstick = Yardstick(root)
        figures = {"FP32": yardstick.figures(models)}
        for part, files in parts.items():
            figures[part] = yardstick.figures(stage(Path(scratch) / "stage", models, forms, files))
        kept = [part for part in parts if not lost(figures["FP32"], figures[part], LIMIT)]
        together = [f for part in kept for f in parts[part]]
        figures["all that is kept"] = yardstick.figures(stage(Path(scratch) / "stage", models, forms, together))
        if lost(figures["FP32"], figures["all that is kept"], LIMIT):
            kept, together = [], []
        out = models / "int8"
        shutil.rmtree(out, ignore_errors=True)
        if together:
            out.mkdir()
        for name in together:
            shutil.copy(forms / name, out / name)
    graphs = {c: OnnxRuntime().load(models / f"{FUSION}{c}.onnx") for c in COMBINATIONS}
    return Costs(figures, tuple(kept), tuple(p for p in parts if p not in kept), LIMIT, weights_of(graphs))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.int8", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section INT8 is written")
    arguments = parser.parse_args()
    try:
        costs = calibrate(arguments.data, arguments.models)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    text = costs.markdown()
    report.section(arguments.report, "INT8", text)
    print(text)
    if "fusion" in costs.refused:
        raise SystemExit("INT8 of the fusion graphs is refused: a measured combination loses more than 1 point")


if __name__ == "__main__":
    main()
