"""Other forms of graphs that exist as files already: FP16, and the metadata of today. Needs no checkpoint."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import onnx
from numpy.typing import NDArray

from edge_mer.runtime.backend import Graph
from edge_mer.runtime.golden import draw
from edge_mer.runtime.model_file import METADATA_KEY
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.exporting.autocast import autocast
from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write

CASES: Final = 3
FUSION: Final = "fusion."
_WRITTEN: Final = ("contract", "golden", "graph_sha256", "precision", "weights", "origin")


def graph_files(directory: Path) -> list[Path]:
    """Every ONNX file of a directory of models."""
    return sorted(directory.glob("*.onnx"))


def reread(path: Path) -> GraphDraft:
    """A file as a draft, its own outputs being the golden ones."""
    graph = OnnxRuntime().load(path)
    model = onnx.load(path)
    metadata = {k: v for k, v in graph.metadata.items() if k not in _WRITTEN}
    del model.metadata_props[:]
    ranges = ranges_of(graph.inputs, vocabulary(model))
    precision = graph.metadata.get("precision", "fp32")
    every = int(graph.metadata.get("golden", {}).get("every", 1))
    return GraphDraft(path.name, model, metadata, ranges, expected(graph, ranges), precision, every=every)


def expected(graph: Graph, ranges: Mapping[str, Any]) -> list[dict[str, NDArray[Any]]]:
    """What ``graph`` gives for the golden inputs."""
    return [graph.run(draw(graph.inputs, ranges, seed)) for seed in range(CASES)]


def golden_of(model: onnx.ModelProto, ranges: Mapping[str, Any], precision: str) -> list[dict[str, NDArray[Any]]]:
    """What ONNX Runtime makes of the golden inputs through a graph that is no file yet."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    named.metadata_props.add(key=METADATA_KEY, value=json.dumps({"precision": precision}))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "graph.onnx"
        onnx.save(named, path)
        return expected(OnnxRuntime().load(path), ranges)


def vocabulary(model: onnx.ModelProto) -> int:
    """Rows of the table that ``ids`` look up; 1 where nothing does."""
    rows = {t.name: t.dims[0] for t in model.graph.initializer if t.dims}
    return next((rows[n.input[0]] for n in model.graph.node if n.op_type == "Gather" and n.input[1] == "ids"), 1)


def half(directory: Path) -> None:
    """Write ``<directory>/fp16`` from the FP32 files: FP16 inside, FP32 inputs and outputs; none of INT8 files."""
    plain = [draft for path in graph_files(directory) if (draft := reread(path)).precision == "fp32"]
    _write_all(directory / "fp16", (derived(d, autocast(d.model), "fp16", directory / d.name) for d in plain))


def restamp(source: Path, out: Path) -> None:
    """Rewrite the files of ``source`` with the metadata of today; fusion names the rewritten encoders."""
    drafts = [reread(path) for path in graph_files(source)]
    plain = [d for d in drafts if not d.name.startswith(FUSION)]
    out.mkdir(parents=True, exist_ok=True)
    for tokenizer in (*source.glob("*.spm"), *source.glob("*.vocab")):
        (out / tokenizer.name).write_bytes(tokenizer.read_bytes())
    old = {hashlib.sha256((source / d.name).read_bytes()).hexdigest()[:16]: d.name for d in plain}
    write(out, plain)
    new = {sha: hashlib.sha256((out / name).read_bytes()).hexdigest()[:16] for sha, name in old.items()}
    write(out, [_renamed(d, new) for d in drafts if d.name.startswith(FUSION)], "fusion.weights")


def _renamed(fusion: GraphDraft, new: Mapping[str, str]) -> GraphDraft:
    encoders = {m: new.get(sha, sha) for m, sha in fusion.metadata["encoders"].items()}
    return replace(fusion, metadata={**fusion.metadata, "encoders": encoders})


def derived(draft: GraphDraft, model: onnx.ModelProto, precision: str, path: Path) -> GraphDraft:
    """The draft of another form of the file at ``path``, of the same golden outputs."""
    facts = {**draft.facts, "origin": hashlib.sha256(path.read_bytes()).hexdigest()}
    return replace(draft, model=model, precision=precision, facts=facts)


def _write_all(out: Path, drafts: Iterable[GraphDraft]) -> None:
    made = list(drafts)
    write(out, [d for d in made if not d.name.startswith(FUSION)])
    write(out, [d for d in made if d.name.startswith(FUSION)], "fusion.weights")
