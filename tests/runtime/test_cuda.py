"""The CUDA calls: their names in the real bindings, and errors on a machine without a GPU."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from edge_mer.contract.errors import GpuError, MissingExtra
from edge_mer.runtime import cuda as module
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.cuda import Cuda, driver_available
from tests.runtime import touched
from tests.runtime.fake_gpu import Error, FakeCuda

SPEC = TensorSpec((2, 3), np.dtype(np.float32))


def test_every_name_is_in_the_real_bindings() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings; the extra test installs it")
    names = touched.cuda_names()
    assert {"cudaMalloc", "cudaGraphLaunch", "cudaMemcpyKind.cudaMemcpyHostToDevice"} <= names
    for name in sorted(names):
        functools.reduce(getattr, name.split("."), runtime)


@pytest.mark.skipif(driver_available(), reason="this machine has an NVIDIA driver")
def test_missing_gpu_is_a_clear_error_with_the_real_bindings() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings; the extra test installs it")
    with pytest.raises(GpuError, match=r"no usable NVIDIA GPU \(cudaError"):
        Cuda().device()
    with pytest.raises(GpuError, match="allocating 24 bytes failed: cudaErrorInsufficientDriver"):
        Cuda().allocate(SPEC)


def test_missing_bindings_are_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"cuda-bindings is not installed; run: pip install 'edge-mer\[tensorrt\]'"):
        Cuda()


def test_device_reports_name_and_capability() -> None:
    device = Cuda(FakeCuda(capability=(11, 0))).device()
    assert (device.name, device.capability) == ("Fake", "11.0")


def test_out_of_memory_error_names_the_requested_size() -> None:
    class Full(FakeCuda):
        def cudaMalloc(self, size: int) -> tuple[object, ...]:
            return Error.cudaErrorMemoryAllocation, None

    with pytest.raises(GpuError, match="allocating 24 bytes failed: cudaErrorMemoryAllocation"):
        Cuda(Full()).allocate(SPEC)


def test_captured_work_runs_only_when_launched(tmp_path: Path) -> None:
    fake = FakeCuda()
    cuda, done = Cuda(fake), list[int]()
    stream = cuda.stream()
    graph = cuda.record(stream, lambda: fake.enqueue(lambda: done.append(1)))
    assert done == []
    cuda.launch(graph, stream)
    cuda.launch(graph, stream)
    assert done == [1, 1]
