"""FP16 as torch's autocast does it: products and tables in FP16, everything between them in FP32.

Written into the graph as casts, so that a strongly typed TensorRT network takes it as it is. What the range or the 10
bits of FP16 would hurt (log-mel of -30, ages, norms, softmax, the residual sums, and the first product, which reads the
input itself) never is in FP16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PRODUCTS: Final = ("MatMul", "Gemm", "Conv")


def autocast(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a static FP32 model with its products in FP16; inputs and outputs stay FP32."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    tables = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    halved: dict[str, str] = {}
    nodes: list[NodeProto] = []
    first = first_products(model)
    for node in graph.node:
        nodes += [node] if node.name in first else _converted(node, tables, halved)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    kept += [_half(tables[name], new) for name, new in halved.items() if name in tables]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return out


def first_products(model: onnx.ModelProto) -> set[str]:
    """Names of the products that read an input with no other product before; masks are no such input."""
    reached = {value.name for value in model.graph.input if not value.name.endswith("mask")}
    found: set[str] = set()
    for node in model.graph.node:
        if not reached & set(node.input):
            continue
        if node.op_type in PRODUCTS:
            found.add(node.name)
        elif not (node.op_type == "Gather" and node.input[1] in reached):  # a looked-up row is no input any more
            reached |= set(node.output)
    return found


def _converted(node: NodeProto, tables: dict[str, TensorProto], halved: dict[str, str]) -> Iterator[NodeProto]:
    looked_up = node.op_type == "Gather" and node.input[0] in tables
    if node.op_type not in PRODUCTS and not looked_up:
        yield node
        return
    for index, name in enumerate(node.input):
        if not name or (looked_up and index > 0):
            continue
        if name not in halved:
            halved[name] = f"{name}_fp16"
            if name not in tables:
                yield helper.make_node("Cast", [name], [halved[name]], f"{name}_to_fp16", to=TensorProto.FLOAT16)
        node.input[index] = halved[name]
    result = node.output[0]
    node.output[0] = f"{result}_in_fp16"
    yield node
    yield helper.make_node("Cast", [node.output[0]], [result], f"{result}_to_fp32", to=TensorProto.FLOAT)


def _half(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    limit = float(np.finfo(np.float16).max)
    return numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), name)
