"""Fusion graphs with the toy modality and the three shipped ones: one for each of the 15 combinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination, modalities_of
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.golden import draw
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.select import models_directory
from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write
from tests.contract.pulse.adapter import DIM, WEIGHTS

TOKENS = 4


def write_graphs(directory: Path) -> Path:
    """Shapes and encoders of the three are those of the shipped graphs."""
    shipped = read_model(models_directory(None) / "fusion.atv.onnx").metadata
    sizes = {
        "tokens": {**shipped["tokens"], "pulse": TOKENS},
        "dims": {**shipped["dims"], "pulse": DIM},
        "encoders": {**shipped["encoders"], "pulse": WEIGHTS},
    }
    write(directory, [_draft(c, sizes) for c in COMBINATIONS])
    return directory


def _draft(combination: Combination, sizes: dict[str, dict[str, Any]]) -> GraphDraft:
    """Logits: the sum over modalities of a random projection of all tokens, weighted down with age."""
    random, names = np.random.default_rng(1), modalities_of(combination)
    nodes, inputs, weights, parts = [], [], [], []
    for m in names:
        t, d = sizes["tokens"][m], sizes["dims"][m]
        inputs += [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
            for n, shape in ((m, (1, t, d)), (f"{m}_mask", (1, t)), (f"{m}_age", (1, t)))
        ]
        weights.append(numpy_helper.from_array(random.normal(size=(d, len(EMOTIONS))).astype(np.float32), f"{m}_w"))
        nodes += [
            helper.make_node("Neg", [f"{m}_age"], [f"{m}_young"], f"{m}_neg"),
            helper.make_node("Exp", [f"{m}_young"], [f"{m}_decay"], f"{m}_exp"),
            helper.make_node("Mul", [f"{m}_decay", f"{m}_mask"], [f"{m}_share"], f"{m}_mul"),
            helper.make_node("Unsqueeze", [f"{m}_share", "first"], [f"{m}_row"], f"{m}_unsqueeze"),
            helper.make_node("MatMul", [f"{m}_row", m], [f"{m}_sum"], f"{m}_pool"),
            helper.make_node("Squeeze", [f"{m}_sum", "first"], [f"{m}_flat"], f"{m}_squeeze"),
            helper.make_node("MatMul", [f"{m}_flat", f"{m}_w"], [f"{m}_logits"], f"{m}_project"),
        ]
        parts.append(f"{m}_logits")
    nodes.append(helper.make_node("Sum", parts, ["logits"], "sum"))
    nodes.append(helper.make_node("ReduceMean", ["logits", "first"], ["sentiment"], "mean", keepdims=1))
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, len(EMOTIONS))),
        helper.make_tensor_value_info("sentiment", TensorProto.FLOAT, (1, 1)),
    ]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "first"))
    graph = helper.make_graph(nodes, f"fusion.{combination}", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = {
        "kind": "fusion",
        "name": f"toy-{combination}",
        "licence": "MIT",
        "labels": list(EMOTIONS),
        "sentiment": {"supported": True, "reason": None},
        **{key: {m: table[m] for m in names} for key, table in sizes.items()},
    }
    ranges = ranges_of(i.name for i in inputs)
    return GraphDraft(f"fusion.{combination}.onnx", model, metadata, ranges, _expected(model, ranges))


def _expected(model: onnx.ModelProto, ranges: Any) -> list[dict[str, Any]]:
    specs = {
        i.name: TensorSpec(tuple(d.dim_value for d in i.type.tensor_type.shape.dim), np.dtype(np.float32))
        for i in model.graph.input
    }
    run = ReferenceEvaluator(model).run
    return [dict(zip(("logits", "sentiment"), run(None, draw(specs, ranges, seed)), strict=True)) for seed in range(2)]
