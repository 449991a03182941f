"""The ONNX Runtime backend: exact results, checked inputs, and clear errors for bad files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_mer.contract.errors import GpuError, InputError, ModelError
from edge_mer.runtime.backend import Backend, Graph
from edge_mer.runtime.onnx import CPU, CUDA, OnnxGraph, OnnxRuntime


def doubler(path: Path, metadata: str | None = '{"kind": "test"}', shape: tuple[object, ...] = (1, 3)) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {"edge_mer": metadata})
    onnx.save(model, path)
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    backend: Backend = OnnxRuntime()
    return backend.load(doubler(tmp_path / "m.onnx"))


def test_graph_has_metadata_hash_and_specs(tmp_path: Path) -> None:
    path = doubler(tmp_path / "m.onnx", json.dumps({"kind": "fusion", "combination": "av"}))
    graph = OnnxRuntime().load(path)
    assert graph.metadata == {"kind": "fusion", "combination": "av"}
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert graph.inputs["x"].shape == (1, 3)
    assert graph.inputs["x"].dtype == np.float32
    assert list(graph.outputs) == ["y"]


def test_it_runs_and_repeats_bit_for_bit(graph: Graph) -> None:
    x = np.array([[0.1, -2.0, 3e-7]], np.float32)
    assert (graph.run({"x": x})["y"] == x + x).all()
    assert graph.run({"x": x})["y"].tobytes() == graph.run({"x": x})["y"].tobytes()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"'x' is missing"),
        ({"x": np.zeros((1, 3), np.float32), "z": np.zeros(1)}, r"'z' is unknown; expected exactly: x"),
        ({"x": np.zeros((3, 1), np.float32)}, r"'x': got float32\[3, 1\], expected float32\[1, 3\]"),
        ({"x": np.zeros((1, 3))}, r"'x': got float64\[1, 3\], expected float32\[1, 3\]"),
    ],
)
def test_wrong_input_is_named_with_given_and_expected_form(
    graph: Graph, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        graph.run(inputs)


@dataclass
class Failing:
    """A session that fails while it runs."""

    provider: str

    def get_providers(self) -> list[str]:
        return [self.provider]

    def run(self, *_: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory\nand a stack trace")


@pytest.mark.parametrize(("provider", "kind"), [(CUDA, GpuError), (CPU, InputError)])
def test_runtime_errors_are_converted_to_typed_errors(graph: Graph, provider: str, kind: type[Exception]) -> None:
    """So that ``auto`` tries the next backend when GPU memory is full."""
    assert isinstance(graph, OnnxGraph)
    with pytest.raises(kind, match=rf"^{provider}: CUDA failure 2: out of memory$"):
        replace(graph, session=Failing(provider)).run({"x": np.zeros((1, 3), np.float32)})


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx: cannot be read"):
        OnnxRuntime().load(tmp_path / "absent.onnx")


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_truncated_file_is_a_model_error(tmp_path: Path, keep: int) -> None:
    path = doubler(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"m\.onnx"):
        OnnxRuntime().load(path)


@pytest.mark.parametrize(
    ("metadata", "message"), [(None, "not an edge_mer model"), ("{", "not JSON"), ("[1]", "not a JSON object")]
)
def test_a_file_without_our_metadata_is_a_model_error(tmp_path: Path, metadata: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxRuntime().load(doubler(tmp_path / "m.onnx", metadata))


def test_a_dynamic_shape_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="dynamic shape"):
        OnnxRuntime().load(doubler(tmp_path / "m.onnx", shape=("batch", 3)))


def test_description_covers_all_that_could_change_a_bit() -> None:
    assert {"backend", "version", "provider", "threads", "machine"} <= set(OnnxRuntime().describe())
