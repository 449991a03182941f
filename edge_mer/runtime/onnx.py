"""ONNX Runtime: on the CPU the reference backend, with the same result on every run; on a GPU its CUDA provider.

One thread per session and no spinning: this is the fast setting on two cores, and it repeats bit for bit.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_mer.contract.errors import GpuError, InputError, ModelError
from edge_mer.runtime.backend import Arrays, TensorSpec, check_inputs, zeros
from edge_mer.runtime.model_file import ModelFile, read_model

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# TF32 would keep 10 bits of each product; an FP32 model requires 1e-4.
_PROVIDER_OPTIONS: Mapping[str, Mapping[str, str]] = {CPU: {}, CUDA: {"use_tf32": "0"}}
# It replaces MatMul and Add by Gemm and two Reshape: 6-13 % slower at the paper's size
# (tests/runtime/bench_paper_size.py), and no product remains that could run in INT8.
_DISABLED_OPTIMIZERS: Final = ("MatMulAddFusion",)
_NAMES: Final = {CPU: "onnxruntime", CUDA: "onnxruntime-cuda"}
# Weights in INT8 before a product: else ONNX Runtime rounds its other factor to INT8 too.
_FP32_PRODUCTS: Final = ("session.qdq_matmulnbits_accuracy_level", "1")
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(bool)": np.dtype(np.bool_),
}


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """One session with static shapes. Implements ``edge_mer.runtime.backend.Graph``."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    metadata: Mapping[str, Any]
    sha256: str
    session: ort.InferenceSession

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; outputs by name. Raises InputError for a name, shape, dtype or value that the graph refuses,
        GpuError when a GPU fails (out of memory, a driver of another version)."""
        check_inputs(inputs, self.inputs)
        names = list(self.outputs)
        try:
            outputs = self.session.run(names, dict(inputs))
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            used = self.session.get_providers()[0]
            raise (GpuError if used == CUDA else InputError)(f"{used}: {str(error).splitlines()[0]}") from error
        return dict(zip(names, outputs, strict=True))


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """Opens ONNX files with one thread each. Implements ``edge_mer.runtime.backend.Backend``."""

    provider: str = CPU

    @property
    def name(self) -> str:
        return _NAMES[self.provider]

    def load(self, path: Path) -> OnnxGraph:
        """Read, check and warm up. Raises ModelError for an unusable file, GpuError without a GPU."""
        model = read_model(path)
        session = self._session(model)
        graph = OnnxGraph(
            inputs={a.name: _spec(a, path) for a in session.get_inputs()},
            outputs={a.name: _spec(a, path) for a in session.get_outputs()},
            metadata=model.metadata,
            sha256=model.sha256,
            session=session,
        )
        graph.run(zeros(graph.inputs))
        return graph

    def describe(self) -> dict[str, str]:
        """Versions, device and thread counts: everything that could change a result bit."""
        return {
            "backend": self.name,
            "version": ort.__version__,
            "provider": self.provider,
            "threads": "1",
            "machine": platform.machine(),
            "numpy": np.__version__,
        }

    def _session(self, model: ModelFile) -> ort.InferenceSession:
        if self.provider not in ort.get_available_providers():
            raise GpuError(f"this onnxruntime has no {self.provider}; run: pip install onnxruntime-gpu")
        options = _options()
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(model.path.parent.resolve()))
        providers = [(self.provider, dict(_PROVIDER_OPTIONS[self.provider]))]
        try:
            session = ort.InferenceSession(
                model.content, options, providers=providers, disabled_optimizers=_DISABLED_OPTIMIZERS
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated types for a damaged file
            raise ModelError(f"{model.path}: not a usable ONNX file ({str(error).splitlines()[0]})") from error
        if self.provider not in session.get_providers():
            raise GpuError(f"{self.provider} did not start (no GPU, or CUDA libraries of another version)")
        return session


def has_cuda() -> bool:
    """Whether this onnxruntime was built with the CUDA provider."""
    return CUDA in ort.get_available_providers()


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry(*_FP32_PRODUCTS)
    options.log_severity_level = 3
    return options


def _spec(argument: Any, path: Path) -> TensorSpec:
    if not all(isinstance(size, int) for size in argument.shape):
        raise ModelError(
            f"{path}: {argument.name!r} has the dynamic shape {argument.shape}; export it with static ones"
        )
    if argument.type not in _DTYPES:
        raise ModelError(f"{path}: {argument.name!r} has the unsupported type {argument.type}")
    return TensorSpec(tuple(argument.shape), _DTYPES[argument.type])
