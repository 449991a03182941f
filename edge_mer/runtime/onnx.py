"""ONNX Runtime on the CPU: the reference backend, exact and the same on every run.

One thread per session and no spinning: on two cores this is the fast setting, and the one that repeats bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_mer.errors import InputError, ModelError
from edge_mer.runtime.backend import Arrays, TensorSpec

METADATA_KEY = "edge_mer"
_PROVIDER = "CPUExecutionProvider"
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
        """Run once; outputs by name. Raises InputError when a name, shape or dtype differs from ``inputs``."""
        check_inputs(inputs, self.inputs)
        names = list(self.outputs)
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


@dataclass(frozen=True, slots=True)
class OnnxRuntime:
    """Opens ONNX files on the CPU with one thread each. Implements ``edge_mer.runtime.backend.Backend``."""

    name: str = "onnxruntime"

    def load(self, path: Path) -> OnnxGraph:
        """Read, check and warm up. Raises ModelError for a missing, truncated or foreign file."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); run: edge-mer models check") from error
        try:
            session = ort.InferenceSession(content, _options(), providers=[_PROVIDER])
        except Exception as error:  # onnxruntime raises a dozen unrelated types for a damaged file
            raise ModelError(f"{path}: not a usable ONNX file ({str(error).splitlines()[0]})") from error
        graph = OnnxGraph(
            inputs={a.name: _spec(a, path) for a in session.get_inputs()},
            outputs={a.name: _spec(a, path) for a in session.get_outputs()},
            metadata=_metadata(session.get_modelmeta().custom_metadata_map, path),
            sha256=hashlib.sha256(content).hexdigest(),
            session=session,
        )
        graph.run({name: np.zeros(spec.shape, spec.dtype) for name, spec in graph.inputs.items()})
        return graph

    def describe(self) -> dict[str, str]:
        """Versions, device and thread counts: everything that could change a result bit."""
        return {
            "backend": self.name,
            "version": ort.__version__,
            "provider": _PROVIDER,
            "threads": "1",
            "machine": platform.machine(),
            "numpy": np.__version__,
        }


def check_inputs(got: Arrays, expected: Mapping[str, TensorSpec]) -> None:
    """Raises InputError that names the first offending input, what came and what was expected."""
    for name in [n for n in expected if n not in got] + [n for n in got if n not in expected]:
        state = "missing" if name in expected else "unknown"
        raise InputError(f"input {name!r} is {state}; expected exactly: {', '.join(expected)}")
    for name, spec in expected.items():
        shape, dtype = np.shape(got[name]), np.asarray(got[name]).dtype
        if shape != spec.shape or dtype != spec.dtype:
            raise InputError(f"input {name!r}: got {dtype}{list(shape)}, expected {spec.dtype}{list(spec.shape)}")


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
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


def _metadata(properties: Mapping[str, str], path: Path) -> Mapping[str, Any]:
    try:
        metadata = json.loads(properties[METADATA_KEY])
    except KeyError as error:
        raise ModelError(
            f"{path}: a foreign model, it has no {METADATA_KEY!r} metadata; see pipelines.export"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path}: its {METADATA_KEY!r} metadata is not JSON") from error
    if not isinstance(metadata, dict):
        raise ModelError(f"{path}: its {METADATA_KEY!r} metadata is not a JSON object")
    return metadata
