"""A model with the shipped metadata, small enough to be created in every test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write

METADATA: Mapping[str, Any] = {"kind": "test", "name": "tiny", "licence": "MIT"}


def tiny(path: Path, factor: float = 2.0, opset: int = 18, shape: tuple[int, ...] = (1, 3)) -> Path:
    """``y = factor x + 1`` with golden vectors."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["z"], "mul"), helper.make_node("Add", ["z", "one"], ["y"], "add")],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32([v]), n) for n, v in (("factor", factor), ("one", 1.0))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    ranges = ranges_of(["x"])
    write(path.parent, [GraphDraft(path.name, model, METADATA, ranges, expected(model, ranges))])
    return path


def expected(model: onnx.ModelProto, ranges: Any) -> list[dict[str, Any]]:
    from onnx.reference import ReferenceEvaluator

    from edge_mer.runtime.backend import TensorSpec
    from edge_mer.runtime.golden import draw

    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    specs = {"x": TensorSpec(shape, np.dtype(np.float32))}
    run = ReferenceEvaluator(model).run
    return [{"y": run(None, draw(specs, ranges, seed))[0]} for seed in range(2)]
