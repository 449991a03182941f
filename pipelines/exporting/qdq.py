"""INT8 in a graph as explicit Q/DQ that ONNX Runtime and the TensorRT parser both take.

``onnxruntime.quantization`` writes it: symmetric INT8 on both sides (TensorRT refuses zero points), one scale per
output channel of the weights, biases in FP32 (TensorRT refuses INT32 biases). Only a convolution's result is rounded
too: else its kernel stays FP32. Kept higher: softmax, norms, sums, products of few rows (routers, pooling, heads), and
convolutions that read an input.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import Arrays
from pipelines.exporting.autocast import PRODUCTS, first_products

LEVELS: Final = 127
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


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Iterable[Arrays]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        found = next(self._left, None)
        return None if found is None else dict(found)


def quantise(model: onnx.ModelProto, chosen: Sequence[Product], inputs: Sequence[Arrays]) -> onnx.ModelProto:
    """A copy with the ``chosen`` products in INT8; the largest magnitude that ``inputs`` reach becomes 127.

    Raises ModelError without inputs.
    """
    if not inputs:
        raise ModelError("no recorded input to take INT8 ranges from")
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "fp32.onnx", Path(place) / "int8.onnx"
        draft = with_own_inputs(model, chosen)
        add_pre_process_metadata(draft)  # no warning: an exported graph needs none of it
        onnx.save(draft, source)
        quantize_static(
            source,
            out,
            _Inputs(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[p.name for p in chosen],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
            },
        )
        return onnx.load(out)


def with_own_inputs(model: onnx.ModelProto, chosen: Sequence[Product]) -> onnx.ModelProto:
    """A copy in which no ``chosen`` product shares its activation or weights with another node.

    ONNX Runtime would give them one DQ, and fuses only a product whose DQ are its own.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph, by_name = out.graph, {p.name: p for p in chosen}
    tables = {t.name: t for t in graph.initializer}
    nodes, made = list[NodeProto](), list[TensorProto]()
    for node in graph.node:
        if (product := by_name.get(node.name)) is not None:
            activation, weights = f"{node.name}_activation", f"{node.name}_weights"
            nodes.append(helper.make_node("Identity", [product.activation], [activation], f"{activation}_identity"))
            own = TensorProto()
            own.CopyFrom(tables[product.weights])
            own.name = weights
            made.append(own)
            node.input[0], node.input[1] = activation, weights
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *made])
    return out


def weights_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the weights stay in INT8 and nothing else is rounded.

    What ``quantise`` rounds between the layers makes an encoder answer to noise of half a step of 16 bits.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    constant = {t.name for t in out.graph.initializer}
    source: dict[str, str] = {}
    nodes = list[NodeProto]()
    for node in out.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = source.get(name, name)
        if node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and node.input[0] not in constant):
            source[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in out.graph.initializer if t.name in used]
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(nodes)
    out.graph.initializer.extend(kept)
    return out
