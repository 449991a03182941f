"""Writes INT8 into a graph as explicit Q/DQ that ONNX Runtime and the TensorRT parser both take.

Symmetric INT8 on both sides (TensorRT refuses zero points), one scale per output channel of the weights, biases and
results in FP32 (TensorRT refuses ONNX Runtime's INT32 biases, and a rounded result gains nothing). Each product has a
DQ of its own, or ONNX Runtime does not fuse it. Only a convolution's result is rounded too: else its kernel stays FP32.
Kept higher: softmax, norms, sums, products of few rows (routers, pooling, heads), and convolutions that read an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pipelines.exporting.autocast import PRODUCTS, first_products

LEVELS: Final = 127
# No scale is smaller: an activation that never moved must not divide by zero.
LEAST: Final = 1e-8
ZERO: Final = "int8_zero"
# A product of fewer rows gains no time, and decides the most: routers, the pooling's scores, heads.
LEAST_ROWS: Final = 8
# Fewer weights per output than this are a depthwise convolution.
LEAST_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Product:
    """One product with constant weights; ``axis`` is that of the output channels, ``work`` its multiplications.

    ``result`` names what it gives where that is rounded too.
    """

    name: str
    activation: str
    weights: str
    result: str | None
    axis: int
    rows: int
    depth: int
    work: int
    at_door: bool

    @property
    def worthwhile(self) -> bool:
        """Whether INT8 saves time here and can be trusted: an image of few levels must not lose some at the door."""
        return self.rows >= LEAST_ROWS and self.depth >= LEAST_DEPTH and not (self.at_door and self.result)


def products(model: onnx.ModelProto) -> list[Product]:
    """Every MatMul, Gemm and Conv with constant weights, in order."""
    shapes = shapes_of(model)
    tables = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    found = []
    first = first_products(model)
    for node in model.graph.node:
        if node.op_type not in PRODUCTS or node.input[1] not in tables:
            continue
        dims, out = list(tables[node.input[1]].dims), shapes[node.output[0]]
        work = int(np.prod(out))
        result = node.output[0] if node.op_type == "Conv" else None
        if node.op_type == "Conv":
            axis, depth, rows = 0, int(np.prod(dims[1:])), int(np.prod(out[2:])) * out[0]
        elif len(dims) == 2:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            axis, depth, rows = (0, dims[1], work // dims[0]) if transposed else (1, dims[0], work // dims[1])
        else:
            continue
        found.append(
            Product(
                node.name, node.input[0], node.input[1], result, axis, rows, depth, work * depth, node.name in first
            )
        )
    return found


def shapes_of(model: onnx.ModelProto) -> Mapping[str, list[int]]:
    """Static shapes of every tensor."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def quantise(model: onnx.ModelProto, chosen: Sequence[Product], largest: Mapping[str, float]) -> onnx.ModelProto:
    """A copy with the ``chosen`` products in INT8; ``largest``: of each tensor, the magnitude that becomes 127."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    tables = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    by_name = {p.name: p for p in chosen}
    made: dict[str, TensorProto] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if (product := by_name.get(node.name)) is not None:
            nodes += _activation(node, product.activation, largest, made)
            nodes += _weights(node, product, tables[product.weights], made)
        nodes.append(node)
        if product is not None and product.result is not None:
            nodes += _rounded(node, largest, made)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *made.values()])
    return out


def _activation(
    node: NodeProto, name: str, largest: Mapping[str, float], made: dict[str, TensorProto]
) -> Iterator[NodeProto]:
    if f"{name}_scale" not in made:
        yield _q(name, largest, made)
    node.input[0] = f"{node.name}_activation"
    yield _dq(name, node.input[0])


def _rounded(node: NodeProto, largest: Mapping[str, float], made: dict[str, TensorProto]) -> Iterator[NodeProto]:
    result = node.output[0]
    node.output[0] = f"{result}_in_fp32"
    largest = {node.output[0]: largest[result]}
    yield _q(node.output[0], largest, made)
    yield _dq(node.output[0], result)


def _q(name: str, largest: Mapping[str, float], made: dict[str, TensorProto]) -> NodeProto:
    scale = np.float32(max(largest[name], LEAST) / LEVELS)
    made[f"{name}_scale"] = numpy_helper.from_array(np.asarray(scale), f"{name}_scale")
    made[ZERO] = numpy_helper.from_array(np.asarray(np.int8(0)), ZERO)
    return helper.make_node("QuantizeLinear", [name, f"{name}_scale", ZERO], [f"{name}_int8"], f"{name}_q")


def _dq(name: str, out: str) -> NodeProto:
    return helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale", ZERO], [out], f"{out}_dq")


def _weights(
    node: NodeProto, p: Product, values: NDArray[np.float32], made: dict[str, TensorProto]
) -> Iterator[NodeProto]:
    others = tuple(i for i in range(values.ndim) if i != p.axis)
    scale = np.maximum(np.abs(values).max(axis=others), LEAST) / LEVELS
    shaped = scale.reshape([-1 if i == p.axis else 1 for i in range(values.ndim)])
    rounded = np.clip(np.rint(values / shaped), -LEVELS, LEVELS).astype(np.int8)
    names = [f"{node.name}_weights{end}" for end in ("_int8", "_scale", "_zero")]
    for name, array in zip(names, (rounded, scale.astype(np.float32), np.zeros(len(scale), np.int8)), strict=True):
        made[name] = numpy_helper.from_array(array, name)
    own = f"{node.name}_weights"
    yield helper.make_node("DequantizeLinear", names, [own], f"{own}_dq", axis=p.axis)
    node.input[1] = own
