"""A real NVIDIA parser and builder, without a GPU: TensorRT-RTX builds every graph in every precision."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from calibration.int8 import quantised
from edge_mer.contract.domain import COMBINATIONS, MODALITIES
from edge_mer.contract.errors import GpuError, ModelError
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.runtime.cuda import driver_available
from edge_mer.runtime.engines import EngineCache, Options
from edge_mer.runtime.golden import draw
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.tensorrt import RTX, TensorRT
from edge_mer.runtime.tensorrt_build import build
from pipelines.exporting import export
from pipelines.exporting.onnx_file import write
from pipelines.exporting.onnx_variants import half

trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx (x86_64 Linux); the extra test installs it there")
# The voice ships in INT8 alone; the words run on the CPU (edge_mer.runtime.model_file.runs_on_cpu).
NAMES = ("speech", "face", *(f"fusion.{c}" for c in COMBINATIONS))
BUILT = [("audio", "int8"), *((name, precision) for name in NAMES for precision in ("fp32", "fp16", "int8"))]


@pytest.fixture
def backend(tmp_path: Path) -> TensorRT:
    return TensorRT(RTX, EngineCache(tmp_path / "engines"), may_build=True)


@pytest.mark.parametrize(("name", "precision"), BUILT)
def test_every_graph_is_built(forms: Path, backend: TensorRT, name: str, precision: str) -> None:
    path = forms / ("" if precision == "fp32" or name == "audio" else precision) / f"{name}.onnx"
    key, built = backend.build(path)
    assert built
    assert key.precision == precision
    assert len(backend.cache.get(key) or b"") > 10_000
    assert backend.build(path) == (key, False)


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one graph for all combinations of a small model with experts, in three precisions."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("gathered")
    config = MCULoRAConfig(blocks=1, expert_blocks=1, width=32, tokens={"audio": 9, "video": 8, "text": 10})
    g = export.gathered_graph(MCULoRA(config), dict.fromkeys(MODALITIES, ""), {})
    write(place, [export.draft(g.name, g.net, g.inputs, g.outputs, g.metadata)])
    half(place)
    whole = OnnxRuntime().load(place / g.name)
    every = [draw(whole.inputs, whole.metadata["golden"]["ranges"], seed) for seed in range(7)]
    for index, inputs in enumerate(every):
        inputs["combination"][:] = index
    write(place / "int8", [quantised(place / g.name, every)])
    return place


@pytest.mark.parametrize("precision", ["", "fp16", "int8"])
def test_gathered_graph_of_a_model_with_experts_is_built(gathered: Path, backend: TensorRT, precision: str) -> None:
    _, built = backend.build(gathered / precision / export.GATHERED)
    assert built


def test_progress_is_reported_in_order(forms: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    build(trt, read_model(forms / "speech.onnx"), Options(), lambda *step: steps.append(step))
    assert steps
    assert {phase for phase, _, _ in steps} == {steps[0][0]}
    assert [step for _, step, _ in steps] == sorted({step for _, step, _ in steps})


def test_refused_node_is_named(forms: Path, tmp_path: Path) -> None:
    model = onnx.load(forms / "speech.onnx")
    node = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    node.op_type, node.domain = "Mystery", "test.unknown"
    model.opset_import.add(domain="test.unknown", version=1)
    content = model.SerializeToString()
    bad = read_model(forms / "speech.onnx")
    object.__setattr__(bad, "content", content)
    with pytest.raises(ModelError, match=r"speech\.onnx: refused by the parser of tensorrt_rtx 1\.7.*Mystery"):
        build(trt, bad, Options())


def test_default_qdq_of_onnx_runtime_is_refused(forms: Path, tmp_path: Path) -> None:
    """Why ``pipelines.exporting.qdq`` sets options: INT32 biases and zero points stop NVIDIA's parser."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    graph = OnnxRuntime().load(forms / "face.onnx")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [draw(graph.inputs, graph.metadata["golden"]["ranges"], 0)]

        def get_next(self) -> object:
            return self.left.pop() if self.left else None

    out = tmp_path / "default.onnx"
    quantize_static(forms / "face.onnx", out, Reader(), quant_format=QuantFormat.QDQ)
    bad = read_model(forms / "face.onnx")
    object.__setattr__(bad, "content", out.read_bytes())
    with pytest.raises(ModelError, match="refused by the parser"):
        build(trt, bad, Options())


@pytest.mark.skipif(driver_available(), reason="this machine has an NVIDIA driver")
def test_running_an_engine_without_a_gpu_is_a_clear_error(forms: Path, backend: TensorRT) -> None:
    with pytest.raises(GpuError, match="no usable NVIDIA GPU"):
        backend.load(forms / "speech.onnx")
