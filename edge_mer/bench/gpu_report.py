"""``edge-mer doctor --gpu``: test and time every compiled runtime on this device; plain text for bug reports."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from edge_mer.bench.result import percentile
from edge_mer.config import ModelsConfig
from edge_mer.contract.errors import EdgeMerError, GpuError, MissingExtra, ModelError
from edge_mer.runtime.backend import Backend, Graph, zeros
from edge_mer.runtime.cuda import Cuda
from edge_mer.runtime.engine_builds import model_files
from edge_mer.runtime.golden import self_test
from edge_mer.runtime.select import open_backend, tensorrt
from edge_mer.runtime.tensorrt_graph import EngineGraph

PACKAGES: Final = ("edge-mer", "tensorrt", "tensorrt-rtx", "cuda-bindings", "onnxruntime", "onnxruntime-gpu", "numpy")
PRECISIONS: Final = ("fp32", "fp16", "int8")
WARM, RUNS = 20, 200
# Files in which a Jetson names its board and release.
_BOARD: Final = (Path("/proc/device-tree/model"), Path("/etc/nv_tegra_release"))

Emit = Callable[[str], None]


def report(models: ModelsConfig, emit: Emit) -> bool:
    """Write the report through ``emit``. True when at least one GPU runtime passes the tests of every model."""
    emit("edge-mer doctor --gpu")
    for line in (*_machine(), *_device()):
        emit(f"  {line}")
    results = [_runtime(models, name, emit) for name in ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda")]
    _runtime(models, "onnxruntime", emit)
    good = any(results)
    emit("a GPU runtime works" if good else "no GPU runtime works: models.backend = auto uses onnxruntime on the CPU")
    return good


def _machine() -> Iterator[str]:
    yield f"{platform.platform()}, Python {platform.python_version()}"
    for path in _BOARD:
        if path.is_file():
            yield path.read_text(errors="replace").strip("\0\n ").splitlines()[0]
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _device() -> Iterator[str]:

    try:
        cuda = Cuda()
        device = cuda.device()
        free = cuda.free_memory()
    except EdgeMerError as error:
        yield str(error)
        return
    yield (
        f"{device.name}, compute capability {device.capability}, {device.memory / 1e9:.1f} GB "
        f"({free / 1e9:.1f} free), driver {device.driver}, CUDA runtime {device.runtime}"
    )


def _runtime(models: ModelsConfig, name: str, emit: Emit) -> bool:
    """Test all models in all available precisions. False at the first missing requirement."""

    emit(name)
    good = True
    seen: set[Path] = set()
    for precision in PRECISIONS:
        backend = _open(models, name)
        for path in model_files(models.model_copy(update={"precision": precision})):
            if path in seen:
                continue
            seen.add(path)
            try:
                emit(f"  ok  {_tested(backend, path)}")
            except (GpuError, MissingExtra) as error:
                emit(f"  --  {error}")
                return False
            except ModelError as error:
                good = False
                emit(f"  NO  {error}")
    emit("  " + ", ".join(f"{k} {v}" for k, v in _open(models, name).describe().items()))
    return good


def _open(models: ModelsConfig, name: str) -> Backend:

    if name.startswith("tensorrt"):
        return tensorrt(models, name, may_build=True)
    return open_backend(models.model_copy(update={"backend": name, "precision": "fp32", "allow_noncommercial": True}))


def _tested(backend: Backend, path: Path) -> str:
    """Build the graph where needed, compare it with its golden vectors, and time it."""

    began = time.monotonic()
    graph = backend.load(path)
    ready = time.monotonic() - began
    has_golden = "golden" in graph.metadata
    tested = ", ".join(map(str, self_test(graph))) if has_golden else "untested: no golden vectors"
    p50, p95 = _times(graph)
    line = f"{path.parent.name}/{path.name}: p50 {p50:.3f} ms, p95 {p95:.3f} ms, ready in {ready:.1f} s; {tested}"
    if isinstance(graph, EngineGraph):
        line += f"; device {graph.device_ms(RUNS):.3f} ms"
        if graph.uncaptured is not None:
            line += f"; no CUDA graph: {graph.uncaptured}"
        graph.close()
    return line


def _times(graph: Graph) -> tuple[float, float]:
    """p50 and p95 of one run on the host, in milliseconds."""

    inputs, took = zeros(graph.inputs), list[float]()
    for _ in range(WARM + RUNS):
        began = time.perf_counter()
        graph.run(inputs)
        took.append((time.perf_counter() - began) * 1e3)
    return percentile(took[WARM:], 0.5), percentile(took[WARM:], 0.95)
