"""INT8 in the graph: which products, at which scales, and what is kept higher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from calibration.int8 import InputRecorder
from edge_mer.contract.errors import ModelError
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.runtime.model_file import METADATA_KEY
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.exporting import export
from pipelines.exporting.qdq import LEVELS, Product, products, quantise, weights_alone
from tests.runtime.tiny import tiny

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(size=(32, 24)).astype(np.float32) * np.logspace(-2, 1, 24, dtype=np.float32)


def product(rows: int = 16) -> onnx.ModelProto:
    """``y = x W``, x [rows, 32]."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 24])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    out: np.ndarray = ort.InferenceSession(model.SerializeToString()).run(None, inputs)[0]
    return out


def test_every_output_channel_has_a_scale_of_its_own() -> None:
    model = product()
    x = RANDOM.normal(size=(16, 32)).astype(np.float32)
    got = run(quantise(model, products(model), [{"x": x}]), x=x)
    per_tensor = np.abs(WEIGHTS).max() / LEVELS
    coarse = x @ (np.rint(WEIGHTS / per_tensor) * per_tensor)
    error, worse = np.abs(got - x @ WEIGHTS), np.abs(coarse - x @ WEIGHTS)
    assert error[:, 0].max() < 0.1 * worse[:, 0].max(), "the weakest channel keeps its bits"
    assert error.max() <= 0.03 * np.abs(x @ WEIGHTS).max()


def test_with_weights_alone_in_int8_the_device_does_not_round_the_input(tmp_path: Path) -> None:
    model = product()
    x = RANDOM.normal(size=(16, 32)).astype(np.float32)
    whole = quantise(model, products(model), [{"x": x / 2}])  # the range is half of what comes
    alone = weights_alone(whole)
    assert [n.op_type for n in alone.graph.node if "Linear" in n.op_type] == ["DequantizeLinear"]
    alone.metadata_props.add(key=METADATA_KEY, value="{}")
    onnx.save(alone, tmp_path / "alone.onnx")
    graph = OnnxRuntime().load(tmp_path / "alone.onnx")
    assert np.abs(graph.run({"x": x})["y"] - x @ WEIGHTS).max() <= 0.03 * np.abs(x @ WEIGHTS).max()
    # A tenth of a step of the input has a tenth of its effect, not none or a whole one.
    step = np.abs(x).max() / 2 / LEVELS
    effect = graph.run({"x": x + step / 10})["y"] - graph.run({"x": x})["y"]
    wanted = step / 10 * WEIGHTS.sum(0)
    assert np.abs(effect - wanted).max() <= 0.1 * np.abs(wanted).max()


def test_what_lies_beyond_the_range_is_clipped_not_wrapped() -> None:
    model = product()
    x = np.full((16, 32), 1.0, np.float32)
    got = run(quantise(model, products(model), [{"x": x / 2}]), x=x)
    assert np.allclose(got, 0.5 * WEIGHTS.sum(0), atol=0.02 * np.abs(WEIGHTS).sum(0).max())


@pytest.mark.parametrize(("rows", "worthwhile"), [(1, False), (7, False), (8, True), (80, True)])
def test_products_of_few_rows_stay_as_they_are(rows: int, worthwhile: bool) -> None:
    [found] = products(product(rows))
    assert found == Product("matmul", "x", "w", None, 1, rows, 32, rows * 24 * 32, True)
    assert found.worthwhile is worthwhile


def test_a_convolution_that_reads_an_input_stays_as_it_is() -> None:
    [found] = products(product())
    assert not replace(found, result="y").worthwhile


def test_routers_pooling_and_heads_of_the_model_stay_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MCULoRAConfig(blocks=1, expert_blocks=1)
    g = export.merged_graph(MCULoRA(config), "a", {"audio": "", "video": "", "text": ""}, {})
    model = export.draft(g.name, g.net, g.inputs, g.outputs, g.metadata).model
    found = products(model)
    kept = [p for p in found if not p.worthwhile]
    width, experts = config.width, len(config.expert_ranks)
    assert all(p.rows < 8 or p.depth < 16 for p in kept)
    # Heads: 64 -> 64 -> 7 and 64 -> 64 -> 1; biases by gates [4] and the age code [5] are no products worth it.
    assert [p for p in kept if p.depth == width and p.rows < 8]
    assert experts in {p.depth for p in kept}
    chosen = [p for p in found if p.worthwhile]
    length = config.tokens["audio"]
    assert {p.rows for p in chosen} == {length, 2 * length}, "one row per token, twice where tasks have their own"
    assert sum(p.work for p in chosen) > 0.9 * sum(p.work for p in found)


def test_the_largest_magnitude_that_recorded_inputs_reach_becomes_the_last_level() -> None:
    model = product()
    inputs = [{"x": np.full((16, 32), v, np.float32)} for v in (-3.0, 0.5, 2.0)]
    quantised = quantise(model, products(model), inputs)
    scales = {t.name: numpy_helper.to_array(t) for t in quantised.graph.initializer if t.name.endswith("_scale")}
    assert scales["matmul_activation_scale"] * LEVELS == pytest.approx(3.0, rel=0.01)
    with pytest.raises(ModelError, match="no recorded input"):
        quantise(model, products(model), [])


def shared() -> onnx.ModelProto:
    """Two products that share their activation with a sum, and their weights with each other."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
            helper.make_node("MatMul", ["x", "w"], ["b"], "second"),
            helper.make_node("Add", ["x", "x"], ["c"], "sum"),
        ],
        "shared",
        [tensor("x", TensorProto.FLOAT, [16, 32])],
        [
            tensor("a", TensorProto.FLOAT, [16, 24]),
            tensor("b", TensorProto.FLOAT, [16, 24]),
            tensor("c", TensorProto.FLOAT, [16, 32]),
        ],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_every_product_has_its_own_dequantised_inputs_and_other_nodes_keep_full_precision() -> None:
    model = shared()
    x = RANDOM.normal(size=(16, 32)).astype(np.float32)
    nodes = {n.name: n for n in quantise(model, products(model), [{"x": x}]).graph.node}
    made = {output: n.op_type for n in nodes.values() for output in n.output}
    own = [name for product in ("first", "second") for name in nodes[product].input]
    assert len(set(own)) == 4
    assert {made[name] for name in own} == {"DequantizeLinear"}
    assert list(nodes["sum"].input) == ["x", "x"]


def test_a_recorder_keeps_every_nth_input_and_no_more_than_asked(tmp_path: Path) -> None:
    recorder = InputRecorder(OnnxRuntime().load(tiny(tmp_path / "m.onnx")), stride=3, most=2)
    x = np.zeros((1, 3), np.float32)
    for k in range(20):
        x[...] = k
        assert (recorder.run({"x": x})["y"] == 2 * k + 1).all()
    assert [float(r["x"][0, 0]) for r in recorder.seen] == [0.0, 3.0]
    assert recorder.metadata["name"] == "tiny"
