"""The TensorRT backend on a fake GPU: builds, cache, graph replay and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_mer.contract.errors import GpuError, InputError, MissingExtra, ModelError
from edge_mer.runtime import tensorrt
from edge_mer.runtime.cuda import Cuda
from edge_mer.runtime.engines import EngineCache, Options
from edge_mer.runtime.golden import self_test
from edge_mer.runtime.tensorrt import TENSORRT, TensorRT
from tests.runtime.fake_gpu import FakeCuda, FakeTensorRT
from tests.runtime.tiny import tiny


class Bench:
    """One machine with a GPU."""

    def __init__(self, place: Path, cuda: FakeCuda | None = None, **trt: object) -> None:
        self.path = tiny(place / "tiny.onnx")
        self.gpu = cuda or FakeCuda()
        self.trt = FakeTensorRT(self.gpu, **trt)  # type: ignore[arg-type]
        self.cache = EngineCache(place / "engines")
        self.backend = self.opened()

    def opened(self, may_build: bool = True, **changes: object) -> TensorRT:
        backend = TensorRT(TENSORRT, self.cache, may_build=may_build, cuda=Cuda(self.gpu), module=self.trt)
        return replace(backend, **changes)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


X = np.array([[1, -2, 0.5]], np.float32)


def test_engine_gives_the_result_of_the_model(bench: Bench) -> None:
    graph = bench.backend.load(bench.path)
    assert (graph.run({"x": X})["y"] == 2 * X + 1).all()
    assert graph.metadata["name"] == "tiny"
    assert all(d.largest == 0 for d in self_test(graph))


def test_a_run_replays_the_recorded_graph_and_allocates_nothing(bench: Bench) -> None:
    graph = bench.backend.load(bench.path)
    before, replays = bench.gpu.allocations, bench.gpu.graph_launches
    for k in range(5):
        assert (graph.run({"x": k * X})["y"] == 2 * k * X + 1).all()
    assert bench.gpu.allocations == before
    assert bench.gpu.graph_launches == replays + 5


def test_outputs_belong_to_the_caller(bench: Bench) -> None:
    graph = bench.backend.load(bench.path)
    first = graph.run({"x": X})["y"]
    graph.run({"x": 0 * X})
    assert (first == 2 * X + 1).all()


def test_without_stream_capture_kernels_are_launched_one_by_one_and_it_is_reported(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FakeCuda(capturable=False))
    graph = bench.backend.load(bench.path)
    assert (graph.run({"x": X})["y"] == 2 * X + 1).all()
    assert bench.gpu.graph_launches == 0
    assert bench.backend.describe()["cuda_graph"] == "not for tiny.onnx"


def test_a_wrong_input_is_named(bench: Bench) -> None:
    with pytest.raises(InputError, match=r"'x': got float64\[1, 3\], expected float32\[1, 3\]"):
        bench.backend.load(bench.path).run({"x": X.astype(np.float64)})


def test_close_releases_all_memory(bench: Bench) -> None:
    bench.backend.load(bench.path).close()
    assert not bench.gpu.memory
    assert not bench.gpu.graphs


def test_an_engine_is_built_once_and_found_by_the_next_process(bench: Bench) -> None:
    bench.backend.load(bench.path)
    bench.opened(may_build=False).load(bench.path)
    assert bench.trt.builds == 1


def test_worker_does_not_build_and_names_the_command(bench: Bench) -> None:
    with pytest.raises(ModelError, match=r"no engine for tiny\.onnx \(fp32.*run: edge-mer engine build"):
        bench.opened(may_build=False).load(bench.path)
    assert bench.trt.builds == 0


def test_another_gpu_version_option_or_model_is_another_engine(bench: Bench) -> None:
    bench.backend.load(bench.path)
    keys = {bench.backend.key(bench.path).file}
    keys.add(bench.opened(options=Options(level=5)).key(bench.path).file)
    keys.add(bench.opened(options=Options(workspace_mb=64)).key(bench.path).file)
    keys.add(bench.opened(options=Options(dla_core=1)).key(bench.path).file)
    bench.gpu.capability = (11, 0)
    keys.add(bench.backend.key(bench.path).file)
    bench.trt.__version__ = "11.4.1"
    keys.add(bench.backend.key(bench.path).file)
    tiny(bench.path, factor=3)
    keys.add(bench.backend.key(bench.path).file)
    assert len(keys) == 7


def test_plan_of_another_gpu_under_the_same_key_is_rebuilt(bench: Bench) -> None:
    key, _ = bench.backend.build(bench.path)
    other_trt = FakeTensorRT(FakeCuda(capability=(9, 0)))
    bench.cache.put(key, b'["10.3.0", 9, 0]\nplan', 1.0)
    graph = bench.backend.load(bench.path)
    assert (graph.run({"x": X})["y"] == 2 * X + 1).all()
    assert bench.trt.builds == 2
    assert other_trt.builds == 0
    bench.cache.put(key, b'["10.3.0", 9, 0]\nplan', 1.0)
    with pytest.raises(ModelError, match="no engine for"):
        bench.opened(may_build=False).load(bench.path)


def test_damaged_engine_is_rebuilt(bench: Bench) -> None:
    key, _ = bench.backend.build(bench.path)
    file = bench.cache.directory / key.file
    file.write_bytes(file.read_bytes()[:-3])
    assert bench.backend.build(bench.path) == (key, True)
    assert bench.backend.build(bench.path) == (key, False)


def test_missing_gpu_is_a_clear_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FakeCuda(devices=0))
    with pytest.raises(GpuError, match=r"no usable NVIDIA GPU \(cudaErrorInsufficientDriver\)"):
        bench.backend.load(bench.path)
    assert "no usable NVIDIA GPU" in bench.backend.describe()["device"]


def test_out_of_memory_at_build_names_the_fix(tmp_path: Path) -> None:
    bench = Bench(tmp_path, broken="[defaultAllocator] Out of memory: requested 512 MiB")
    with pytest.raises(GpuError, match=r"out of GPU memory .* --set models\.workspace_mb=256"):
        bench.backend.load(bench.path)
    assert not list(bench.cache.directory.glob("*.engine"))


def test_other_builder_failures_include_its_message(tmp_path: Path) -> None:
    bench = Bench(tmp_path, broken="Could not find any implementation for node mul")
    with pytest.raises(ModelError, match=r"tensorrt 10\.3\.0 cannot build it: Could not find any implementation"):
        bench.backend.load(bench.path)


def test_a_refused_model_names_the_node(bench: Bench) -> None:
    bench.trt.refuses = "Unsupported operator"
    with pytest.raises(ModelError, match=r"refused by the parser .* Unsupported operator \(node 3, TopK\)"):
        bench.backend.load(bench.path)


def test_builder_flags_do_not_change_precision(bench: Bench) -> None:
    bench.opened(options=Options(level=1, workspace_mb=256, dla_core=1)).load(bench.path)
    config = bench.trt.configs[-1]
    assert config.flags == {("clear", "TF32"), ("set", "GPU_FALLBACK")}
    assert config.pools == {"WORKSPACE": 256 * 2**20}
    assert (config.builder_optimization_level, config.DLA_core) == (1, 1)
    assert config.default_device_type.name == "DLA"


def test_missing_dla_core_is_an_error(bench: Bench) -> None:
    with pytest.raises(GpuError, match="dla_core is 2, but this GPU has 2 DLA cores"):
        bench.opened(options=Options(dla_core=2)).load(bench.path)


def test_progress_of_the_outermost_phase_is_reported(bench: Bench) -> None:
    steps: list[tuple[str, int, int]] = []
    bench.opened(progress=lambda *step: steps.append(step)).load(bench.path)
    assert steps == [("Building engine", 0, 2)]


def test_missing_package_is_an_error_with_the_install_command(tmp_path: Path) -> None:
    backend = TensorRT(TENSORRT, EngineCache(tmp_path))
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match=r"pip install 'edge-mer\[tensorrt\]'"):
            backend.load(tiny(tmp_path / "tiny.onnx"))


@pytest.mark.parametrize(
    "error", [OSError("libnvinfer.so.10: cannot open shared object file"), RuntimeError("CUDA 35")]
)
def test_a_package_that_does_not_load_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(name: str) -> object:
        raise error

    monkeypatch.setattr(tensorrt, "import_module", broken)
    backend = TensorRT(TENSORRT, EngineCache(tmp_path))
    with pytest.raises(GpuError, match=f"tensorrt is installed and does not load: {error}"):
        backend.load(tiny(tmp_path / "tiny.onnx"))


@pytest.mark.parametrize("work", ["load", "build"])
def test_errors_of_the_bindings_are_converted_to_gpu_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Where CUDA cannot start, NVIDIA's Builder raises a TypeError of pybind11."""

    def broken(logger: object) -> object:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(bench.trt, "Builder", broken)
    with pytest.raises(GpuError, match=r"tensorrt failed: TypeError: pybind11::init\(\): factory function"):
        getattr(bench.backend, work)(bench.path)
