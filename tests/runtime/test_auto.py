"""``auto``: the best backend that passes its self-test; refusals with figures, reported by health."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_mer.contract.errors import GpuError, ModelError
from edge_mer.runtime.auto import Auto
from edge_mer.runtime.backend import Backend
from edge_mer.runtime.cuda import Cuda
from edge_mer.runtime.engines import EngineCache
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import notes
from edge_mer.runtime.tensorrt import TENSORRT, TensorRT
from tests.runtime.fake_gpu import FakeCuda, FakeTensorRT
from tests.runtime.test_onnx_runtime import doubler
from tests.runtime.tiny import tiny


def auto(
    place: Path, may_build: bool = True, gpu: FakeCuda | None = None, off: float = 0.0, broken: str | None = None
) -> Auto:
    cuda = gpu or FakeCuda()
    module = FakeTensorRT(cuda, off=off, broken=broken)

    def fast() -> Backend:
        return TensorRT(TENSORRT, EngineCache(place / "engines"), may_build=may_build, cuda=Cuda(cuda), module=module)

    return Auto({"tensorrt": fast, "onnxruntime": OnnxRuntime})


def test_the_best_that_passes_is_used(tmp_path: Path) -> None:
    backend = auto(tmp_path)
    backend.load(tiny(tmp_path / "m.onnx"))
    assert backend.name == "tensorrt"
    assert backend.describe()["backend"] == "tensorrt"
    assert notes(backend) == ("tensorrt 10.3.0 fp32",)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"off": 0.5}, r"m\.onnx: self-test failed: y off by 0\.5 \(limit 0\.0001"),
        ({"gpu": FakeCuda(devices=0)}, "no usable NVIDIA GPU"),
        ({"may_build": False}, "no engine for m.onnx .* run: edge-mer engine build"),
        ({"broken": "insufficient memory"}, "out of GPU memory"),
    ],
    ids=["wrong", "no gpu", "no engine", "no memory"],
)
def test_failing_backend_is_refused_with_figures_and_the_next_is_used(
    tmp_path: Path, fault: Mapping[str, object], why: str
) -> None:
    backend = auto(tmp_path, **fault)  # type: ignore[arg-type]
    graph = backend.load(tiny(tmp_path / "m.onnx"))
    assert (graph.run({"x": np.ones((1, 3), np.float32)})["y"] == 3).all()
    used, refused = notes(backend)
    assert used.startswith("onnxruntime ")
    with pytest.raises(ModelError, match=why):
        raise ModelError(refused)


def test_refused_backend_is_not_tried_again(tmp_path: Path) -> None:
    loaded: list[str] = []

    class Broken:
        name = "tensorrt"

        def load(self, path: Path) -> None:
            loaded.append(path.name)
            raise GpuError("gone")

    backend = Auto({"tensorrt": Broken, "onnxruntime": OnnxRuntime})  # type: ignore[dict-item]
    for name in ("a.onnx", "b.onnx"):
        backend.load(tiny(tmp_path / name))
    assert loaded == ["a.onnx"]
    assert backend.name == "onnxruntime"


def test_bad_file_does_not_refuse_a_backend(tmp_path: Path) -> None:
    backend = auto(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        backend.load(tmp_path / "absent.onnx")
    assert not backend.refused


def test_a_model_without_golden_vectors_runs_on_the_reference_only(tmp_path: Path) -> None:
    backend = auto(tmp_path)
    backend.load(doubler(tmp_path / "m.onnx"))
    assert backend.name == "onnxruntime"
    assert "no golden vectors" in backend.describe()["refused"]


def test_a_reference_that_fails_is_an_error(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.onnx")
    model, other = onnx.load(path), onnx.load(tiny(tmp_path / "other" / "m.onnx", factor=3.0))
    del model.metadata_props[:]
    kept = next(p.value for p in other.metadata_props)
    model.metadata_props.add(key="edge_mer", value=kept.replace('"graph_sha256"', '"was"'))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"self-test failed.*the reference; restore the file"):
        Auto({"onnxruntime": OnnxRuntime}).load(path)
