"""Writes ONNX files of the shipped contract: static, checked, with hashes and golden vectors in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import Arrays
from edge_mer.runtime.golden import Range, golden, self_test
from edge_mer.runtime.model_file import METADATA_KEY, graph_sha256
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data import files

FORBIDDEN: Final = {"If", "Loop", "Scan", "NonZero", "TopK", "Dropout", "RandomNormal", "RandomNormalLike"}
CONTRACT: Final = "edge_mer.graph/1"
# Smaller tensors are not worth a reference; offsets are page-aligned, so that the file can be mapped.
LEAST_SHARED, PAGE = 1024, 4096
# How far a backend may be off in each precision: absolute, and relative to the largest value.
TOLERANCES: Final[Mapping[str, tuple[float, float]]] = {
    "fp32": (1e-4, 1e-5),
    "fp16": (1e-3, 5e-3),
    "int8": (2e-2, 2e-2),
}


@dataclass(frozen=True, slots=True, eq=False)
class GraphDraft:
    """A graph on its way to a file. ``expected``: outputs for the golden inputs of seeds 0, 1, ... in FP32, of which
    every ``every``-th value is kept."""

    name: str
    model: onnx.ModelProto
    metadata: Mapping[str, Any]
    ranges: Mapping[str, Range]
    expected: Sequence[Arrays]
    precision: str = "fp32"
    facts: Mapping[str, Any] = field(default_factory=dict)
    every: int = 1


def ranges_of(names: Iterable[str], vocabulary: int = 1) -> dict[str, Range]:
    """What golden inputs are drawn from, by the name of the input."""
    return {name: _range(name, vocabulary) for name in names}


def _range(name: str, vocabulary: int) -> Range:
    known: dict[str, tuple[float, float, bool]] = {
        "mel": (-25, -10, False),
        "logmel": (-8, 2, False),
        "pitch": (0, 1, False),
        "face": (0, 1, False),
        "picture": (0, 255, False),
        "ids": (0, vocabulary - 1, True),
        "mask": (0, 1, True),
        "turn": (0, 3, True),
        "combination": (0, 6, True),
    }
    suffix = name.rpartition("_")[2]
    low, high, integer = known.get(suffix, (0.0, 4.0, False) if suffix == "age" else (-1.0, 1.0, False))
    return {"low": low, "high": high, "integer": integer}


def write(directory: Path, drafts: Sequence[GraphDraft], shared: str | None = None) -> None:
    """Check, and write each draft whole or not at all; then run its golden vectors through ONNX Runtime.

    ``shared``: a file beside them for the tensors that several drafts hold. Raises ModelError for a graph that no
    static engine takes, and for one that does not give what it must.
    """
    for draft in drafts:
        _check(draft)
    directory.mkdir(parents=True, exist_ok=True)
    weights = _share([d.model for d in drafts], directory / shared) if shared is not None else None
    for draft in drafts:
        path = directory / draft.name
        _write(path, draft, weights)
        try:
            self_test(OnnxRuntime().load(path))
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without what the exporter wrote about its origin, in place."""
    for item in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    del model.graph.value_info[:]
    return model


def _check(draft: GraphDraft) -> None:
    model = draft.model
    if found := FORBIDDEN & {node.op_type for node in model.graph.node}:
        raise ModelError(f"{draft.name}: the graph holds {', '.join(sorted(found))}, which no static engine takes")
    for value in (*model.graph.input, *model.graph.output):
        if not all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim):
            raise ModelError(f"{draft.name}: {value.name!r} has a dynamic shape; export it with static ones")
    onnx.checker.check_model(plain(model))


def _write(path: Path, draft: GraphDraft, weights: Mapping[str, str] | None) -> None:
    model = draft.model
    atol, rtol = TOLERANCES[draft.precision]
    metadata = {
        **draft.metadata,
        **draft.facts,
        "contract": {
            "version": CONTRACT,
            "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
            "inputs": [_spec(v) for v in model.graph.input],
            "outputs": [_spec(v) for v in model.graph.output],
        },
        "precision": draft.precision,
        "golden": golden(draft.ranges, draft.expected, atol, rtol, draft.every),
        "graph_sha256": graph_sha256(model.SerializeToString(deterministic=True)),
    }
    if weights is not None and any(t.external_data for t in model.graph.initializer):
        metadata["weights"] = dict(weights)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata, sort_keys=True)
    with files.draft(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))


def _spec(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [d.dim_value for d in kind.shape.dim]
    return {"name": value.name, "shape": shape, "dtype": str(helper.tensor_dtype_to_np_dtype(kind.elem_type))}


def _share(models: Sequence[onnx.ModelProto], path: Path) -> dict[str, str] | None:
    """Move tensors that several models hold, byte for byte, into one file."""
    seen: dict[tuple[object, ...], list[TensorProto]] = {}
    for model in models:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= LEAST_SHARED:
                seen.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data), []).append(tensor)
    content = bytearray()
    for tensors in seen.values():
        if len(tensors) < 2:
            continue
        raw = tensors[0].raw_data
        content += b"\0" * (-len(content) % PAGE)
        for tensor in tensors:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", len(content)), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
        content += raw
    if not content:
        path.unlink(missing_ok=True)
        return None
    with files.draft(path) as partial:
        partial.write_bytes(content)
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
