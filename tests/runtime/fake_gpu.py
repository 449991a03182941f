"""A GPU for tests: device memory is host memory, a captured stream only records, an engine is an ONNX session.

``FakeCuda`` stands for the module ``cuda.bindings.runtime``, ``FakeTensorRT`` for ``tensorrt``; the contract tests
check that the real modules have every name that the code uses.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

Work = Callable[[], None]


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureUnsupported = 900


class FakeCuda:
    """``allocations`` counts every allocation; ``launches`` every engine run, ``graph_launches`` every graph run."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, devices: int = 1, capability: tuple[int, int] = (8, 7), capturable: bool = True) -> None:
        self.devices, self.capability, self.capturable = devices, capability, capturable
        self.memory: dict[int, Any] = {}
        self.allocations = self.launches = self.graph_launches = 0
        self.recording: list[Work] | None = None
        self.graphs: dict[int, list[Work]] = {}

    def enqueue(self, work: Work) -> None:
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (Error.cudaSuccess, self.devices) if self.devices else (Error.cudaErrorInsufficientDriver, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        major, minor = self.capability
        return Error.cudaSuccess, SimpleNamespace(name=b"Fake\0", major=major, minor=minor, totalGlobalMem=8 * 2**30)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return Error.cudaSuccess, 12060

    cudaRuntimeGetVersion = cudaDriverGetVersion

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return Error.cudaSuccess, 4 * 2**30, 8 * 2**30

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        self.allocations += 1
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return Error.cudaSuccess, ctypes.addressof(buffer)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return (Error.cudaSuccess,)

    cudaFreeHost = cudaFree

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        return Error.cudaSuccess, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return (Error.cudaSuccess,)

    cudaStreamSynchronize = cudaStreamDestroy

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        self.enqueue(lambda: ctypes.memmove(to, source, size) and None)
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        if not self.capturable:
            return (Error.cudaErrorStreamCaptureUnsupported,)
        self.recording = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        self.graphs[len(self.graphs)], self.recording = self.recording or [], None
        return Error.cudaSuccess, len(self.graphs) - 1

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, graph

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        self.graph_launches += 1
        for work in self.graphs[graph]:
            work()
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (Error.cudaSuccess,)


class _Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class FakeTensorRT:
    """``broken``: error message of the builder; ``refuses``: error message of the parser; ``off``: added to every
    output of its engines."""

    __name__ = "tensorrt"
    NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    BuilderFlag = IntEnum("BuilderFlag", ["TF32", "GPU_FALLBACK"])
    MemoryPoolType = IntEnum("MemoryPoolType", ["WORKSPACE"])
    DeviceType = IntEnum("DeviceType", ["GPU", "DLA"])
    TensorIOMode = IntEnum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])

    def __init__(self, cuda: FakeCuda, version: str = "10.3.0", off: float = 0.0, broken: str | None = None) -> None:
        self.cuda, self.__version__, self.off, self.broken, self.builds = cuda, version, off, broken, 0
        self.configs: list[Any] = []
        self.refuses: str | None = None

    class ILogger:
        Severity = _Severity

        def __init__(self) -> None: ...

    class IProgressMonitor:
        def __init__(self) -> None: ...

    def Builder(self, logger: Any) -> Any:
        return SimpleNamespace(
            num_DLA_cores=2,
            create_network=lambda flags: SimpleNamespace(flags=flags, content=b""),
            create_builder_config=self._config,
            build_serialized_network=lambda network, config: self._build(logger, network, config),
        )

    def _config(self) -> Any:
        config = SimpleNamespace(flags=set(), pools={}, progress_monitor=None, builder_optimization_level=3)
        config.clear_flag = lambda flag: config.flags.add(("clear", flag.name))
        config.set_flag = lambda flag: config.flags.add(("set", flag.name))
        config.set_memory_pool_limit = lambda pool, size: config.pools.update({pool.name: size})
        self.configs.append(config)
        return config

    def _build(self, logger: Any, network: Any, config: Any) -> bytes | None:
        self.builds += 1
        assert network.flags == 1 << int(self.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        if self.broken is not None:
            logger.log(_Severity.ERROR, self.broken)
            return None
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("Building engine", None, 2)
            config.progress_monitor.phase_start("Tactics", "Building engine", 50)
            config.progress_monitor.step_complete("Tactics", 7)
            config.progress_monitor.step_complete("Building engine", 0)
            config.progress_monitor.phase_finish("Building engine")
        fits = json.dumps([self.__version__, *self.cuda.capability]).encode()
        return fits + b"\n" + network.path.encode() + b"\n" + network.content

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(content: bytes, path: str) -> bool:
            network.content, network.path = content, path
            return self.refuses is None

        error = SimpleNamespace(desc=lambda: self.refuses, node=lambda: 3, node_operator=lambda: "TopK")
        return SimpleNamespace(parse=parse, num_errors=1, get_error=lambda index: error)

    def Runtime(self, logger: Any) -> Any:
        def deserialize(plan: bytes) -> Any:
            fits, _, content = plan.partition(b"\n")
            if fits != json.dumps([self.__version__, *self.cuda.capability]).encode():
                logger.log(_Severity.ERROR, "engine plan file is not compatible with this version or GPU")
                return None
            path, _, content = content.partition(b"\n")
            return FakeEngine(self, content, Path(path.decode()))

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


class FakeEngine:
    """Runs the ONNX model in its plan on the given addresses."""

    def __init__(self, trt: FakeTensorRT, content: bytes, path: Path) -> None:
        self._trt = trt
        options = ort.SessionOptions()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        self._session = ort.InferenceSession(content, options)
        self._inputs = {a.name: a for a in self._session.get_inputs()}
        self._all = {**self._inputs, **{a.name: a for a in self._session.get_outputs()}}
        self._addresses: dict[str, int] = {}
        self.num_io_tensors = len(self._all)

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = FakeTensorRT.TensorIOMode
        return mode.INPUT if name in self._inputs else mode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self._all[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name={"tensor(float)": "FLOAT", "tensor(int64)": "INT64"}[self._all[name].type])

    def create_execution_context(self) -> Any:
        return SimpleNamespace(set_tensor_address=self._addresses.__setitem__, execute_async_v3=self._execute)

    def _execute(self, stream: int) -> bool:
        self._trt.cuda.enqueue(self._run)
        return True

    def _run(self) -> None:
        self._trt.cuda.launches += 1
        inputs = {name: self._view(name) for name in self._inputs}
        names = [n for n in self._all if n not in self._inputs]
        for name, value in zip(names, self._session.run(names, inputs), strict=True):
            self._view(name)[...] = value + self._trt.off

    def _view(self, name: str) -> Any:
        dtype = np.dtype(np.float32 if self._all[name].type == "tensor(float)" else np.int64)
        shape = self._all[name].shape
        size = int(np.prod(shape)) * dtype.itemsize
        return np.ndarray(shape, dtype, memoryview((ctypes.c_byte * size).from_address(self._addresses[name])))
