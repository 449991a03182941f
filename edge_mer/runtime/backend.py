"""The backend contract: load and warm up a compiled graph, run it on arrays, describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Static shape and dtype of one graph input or output."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Graph(Protocol):
    """One compiled graph. ``metadata`` is the JSON object stored in the model file under the key ``edge_mer``."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    @property
    def sha256(self) -> str: ...

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once. Raises InputError when a name, shape or dtype differs from ``inputs``."""
        ...


class Backend(Protocol):
    """Opens graphs on one kind of device."""

    @property
    def name(self) -> str: ...

    def load(self, path: Path) -> Graph:
        """Load and warm up. Raises ModelError for a missing or truncated file, or one without edge_mer metadata."""
        ...

    def describe(self) -> dict[str, str]:
        """Versions, device and thread counts: everything that could change a result bit."""
        ...


def origin(graph: Graph) -> str:
    """sha256 of the FP32 file of the weights: FP16 and INT8 forms of one encoder count as the same encoder."""
    return str(graph.metadata.get("origin", graph.sha256))


def check_inputs(got: Arrays, expected: Mapping[str, TensorSpec]) -> None:
    """Raises InputError that names the first wrong input, and what was given and expected."""
    for name in [n for n in expected if n not in got] + [n for n in got if n not in expected]:
        state = "missing" if name in expected else "unknown"
        raise InputError(f"input {name!r} is {state}; expected exactly: {', '.join(expected)}")
    for name, spec in expected.items():
        shape, dtype = np.shape(got[name]), np.asarray(got[name]).dtype
        if shape != spec.shape or dtype != spec.dtype:
            raise InputError(f"input {name!r}: got {dtype}{list(shape)}, expected {spec.dtype}{list(spec.shape)}")


def zeros(specs: Mapping[str, TensorSpec]) -> dict[str, NDArray[Any]]:
    """Inputs for the warm-up."""
    return {name: np.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}
