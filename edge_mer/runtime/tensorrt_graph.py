"""A TensorRT engine as a graph: I/O in pinned memory, all buffers allocated once, one CUDA graph replayed per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import GpuError, ModelError
from edge_mer.runtime.backend import Arrays, TensorSpec, check_inputs, zeros
from edge_mer.runtime.cuda import Cuda
from edge_mer.runtime.model_file import ModelFile

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """One tensor in both memories."""

    spec: TensorSpec
    host: NDArray[Any]
    address: int


class EngineGraph:
    """Implements ``edge_mer.runtime.backend.Graph``. Outputs are copies that the caller owns."""

    def __init__(self, trt: Any, engine: Any, model: ModelFile, cuda: Cuda) -> None:
        """Allocates, warms up, and records a CUDA graph where the engine allows one. Raises GpuError, ModelError."""
        self.metadata, self.sha256 = model.metadata, model.sha256
        self._cuda, self._engine = cuda, engine
        context = engine.create_execution_context()
        if context is None:
            raise GpuError(f"{model.path.name}: no GPU memory left to run its engine")
        self._context = context
        self._stream = cuda.stream()
        self._inputs: dict[str, _Slot] = {}
        self._outputs: dict[str, _Slot] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            reads = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            slot = self._slot(trt, name, model)
            (self._inputs if reads else self._outputs)[name] = slot
            context.set_tensor_address(name, slot.address)
        self.inputs = {name: slot.spec for name, slot in self._inputs.items()}
        self.outputs = {name: slot.spec for name, slot in self._outputs.items()}
        self._graph: Any = None
        self.run(zeros(self.inputs))
        try:
            self._graph = cuda.record(self._stream, self._enqueue)
        except GpuError as error:  # not every version can capture layers on a DLA: launch kernels one by one
            self.uncaptured: str | None = str(error)
        else:
            self.uncaptured = None
            self.run(zeros(self.inputs))

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; outputs by name. Raises InputError when a name, shape or dtype differs from ``inputs``."""
        check_inputs(inputs, self.inputs)
        for name, slot in self._inputs.items():
            np.copyto(slot.host, inputs[name])
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)
        self._cuda.wait(self._stream)
        return {name: slot.host.copy() for name, slot in self._outputs.items()}

    def device_ms(self, runs: int) -> float:
        """Mean device time of one run, including copies, without host time."""
        with self._cuda.timer(self._stream) as took:
            for _ in range(runs):
                if self._graph is None:
                    self._enqueue()
                else:
                    self._cuda.launch(self._graph, self._stream)
        return took[0] / runs

    def close(self) -> None:
        """Release all memory; the graph cannot run afterwards."""
        for slot in (*self._inputs.values(), *self._outputs.values()):
            self._cuda.free(slot.address)
            self._cuda.free_pinned(slot.host)
        if self._graph is not None:
            self._cuda.free_graph(self._graph)
        self._cuda.free_stream(self._stream)
        self._inputs, self._outputs, self._graph = {}, {}, None
        self._context = self._engine = None

    def _enqueue(self) -> None:
        for slot in self._inputs.values():
            self._cuda.to_device(slot.address, slot.host, self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise GpuError("the engine did not start")
        for slot in self._outputs.values():
            self._cuda.to_host(slot.host, slot.address, self._stream)

    def _slot(self, trt: Any, name: str, model: ModelFile) -> _Slot:
        engine = self._engine
        shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
        if min(shape, default=1) < 0 or kind not in _DTYPES:
            raise ModelError(f"{model.path}: {name!r} is {kind}{list(shape)}; export it with static shapes")
        spec = TensorSpec(shape, _DTYPES[kind])
        return _Slot(spec, self._cuda.pinned(spec), self._cuda.allocate(spec))
