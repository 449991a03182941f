"""The backend contract: load a compiled graph, run it on arrays, say what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
        """Load and warm up. Raises ModelError for a missing, truncated or foreign file."""
        ...

    def describe(self) -> dict[str, str]:
        """Versions, device and thread counts: everything that could change a result bit."""
        ...
