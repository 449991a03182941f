"""The CUDA calls needed to run an engine, over NVIDIA's cuda-bindings: memory, one stream, one graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import GpuError, missing_extra
from edge_mer.runtime.backend import TensorSpec


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """``capability``: compute capability, as in "8.7"; ``memory``: bytes in total; versions as CUDA gives them."""

    name: str
    capability: str
    memory: int
    driver: int
    runtime: int


def driver_available() -> bool:
    """Whether NVIDIA's driver library can be loaded: a fast check before heavy imports."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class Cuda:
    """Device 0. ``rt`` is the module ``cuda.bindings.runtime``. Every failed call raises GpuError with its name."""

    def __init__(self, rt: Any | None = None) -> None:
        self._rt = rt or _bindings()

    def device(self) -> GpuDevice:
        """Raises GpuError when there is none."""
        rt = self._rt
        error, count = rt.cudaGetDeviceCount()
        if int(error) != 0 or not count:
            raise GpuError(
                f"no usable NVIDIA GPU ({getattr(error, 'name', error)}): none found, or its driver is too old"
            )
        properties = self._ok(rt.cudaGetDeviceProperties(0), "reading the GPU properties")
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return GpuDevice(
            name=name.rstrip("\0"),
            capability=f"{properties.major}.{properties.minor}",
            memory=int(properties.totalGlobalMem),
            driver=int(self._ok(rt.cudaDriverGetVersion(), "reading the driver version")),
            runtime=int(self._ok(rt.cudaRuntimeGetVersion(), "reading the CUDA runtime version")),
        )

    def free_memory(self) -> int:
        """Bytes of unused device memory."""
        return int(self._ok(self._rt.cudaMemGetInfo(), "reading the free memory")[0])

    def pinned(self, spec: TensorSpec) -> NDArray[Any]:
        """A page-locked host array; release it with ``free_pinned``."""
        size = max(_nbytes(spec), 1)
        address = int(self._ok(self._rt.cudaMallocHost(size), f"pinning {size} bytes"))
        buffer = memoryview((ctypes.c_byte * size).from_address(address))
        array: NDArray[Any] = np.ndarray(spec.shape, spec.dtype, buffer)
        return array

    def free_pinned(self, array: NDArray[Any]) -> None:
        self._ok(self._rt.cudaFreeHost(array.ctypes.data), "freeing pinned memory")

    def allocate(self, spec: TensorSpec) -> int:
        """The address of device memory for one tensor."""
        size = max(_nbytes(spec), 1)
        return int(self._ok(self._rt.cudaMalloc(size), f"allocating {size} bytes"))

    def free(self, address: int) -> None:
        self._ok(self._rt.cudaFree(address), "freeing device memory")

    def stream(self) -> Any:
        return self._ok(self._rt.cudaStreamCreate(), "creating a stream")

    def free_stream(self, stream: Any) -> None:
        self._ok(self._rt.cudaStreamDestroy(stream), "destroying a stream")

    def to_device(self, address: int, array: NDArray[Any], stream: Any) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        call = self._rt.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, stream)
        self._ok(call, "copying to the GPU")

    def to_host(self, array: NDArray[Any], address: int, stream: Any) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call = self._rt.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, stream)
        self._ok(call, "copying from the GPU")

    def wait(self, stream: Any) -> None:
        self._ok(self._rt.cudaStreamSynchronize(stream), "waiting for the GPU")

    def record(self, stream: Any, work: Callable[[], None]) -> Any:
        """Capture what ``work`` enqueues on ``stream``; replay it with ``launch``. Raises GpuError."""
        rt = self._rt
        self._ok(
            rt.cudaStreamBeginCapture(stream, rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal),
            "beginning a capture",
        )
        try:
            work()
        finally:
            captured = rt.cudaStreamEndCapture(stream)
        graph = self._ok(captured, "ending a capture")
        try:
            return self._ok(rt.cudaGraphInstantiate(graph, 0), "instantiating a CUDA graph")
        finally:
            rt.cudaGraphDestroy(graph)

    def launch(self, graph: Any, stream: Any) -> None:
        self._ok(self._rt.cudaGraphLaunch(graph, stream), "launching a CUDA graph")

    def free_graph(self, graph: Any) -> None:
        self._ok(self._rt.cudaGraphExecDestroy(graph), "freeing a CUDA graph")

    @contextmanager
    def timer(self, stream: Any) -> Iterator[list[float]]:
        """Device milliseconds of what the block enqueues; the list contains them afterwards."""
        rt, took = self._rt, list[float]()
        begin, end = (self._ok(rt.cudaEventCreate(), "creating an event") for _ in range(2))
        try:
            self._ok(rt.cudaEventRecord(begin, stream), "timing")
            yield took
            self._ok(rt.cudaEventRecord(end, stream), "timing")
            self._ok(rt.cudaEventSynchronize(end), "timing")
            took.append(float(self._ok(rt.cudaEventElapsedTime(begin, end), "timing")))
        finally:
            rt.cudaEventDestroy(begin)
            rt.cudaEventDestroy(end)

    def _ok(self, result: tuple[Any, ...], doing: str) -> Any:
        error, *values = result
        if int(error) != 0:
            raise GpuError(f"{doing} failed: {getattr(error, 'name', error)}")
        return values[0] if len(values) == 1 else tuple(values)


def _bindings() -> Any:
    try:
        return import_module("cuda.bindings.runtime")
    except ImportError:
        raise missing_extra("cuda-bindings", "tensorrt") from None


def _nbytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape)) * spec.dtype.itemsize
