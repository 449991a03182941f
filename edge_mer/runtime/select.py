"""Which backend, and where its model files lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_mer.errors import ModelError
from edge_mer.runtime.backend import Backend, Graph
from edge_mer.runtime.onnx import OnnxRuntime

SHIPPED = Path(__file__).parent.parent / "models"

_BACKENDS: Mapping[str, Callable[[], Backend]] = {"onnxruntime": OnnxRuntime}


# How the licences in the models' metadata name data that must not earn money.
RESTRICTED = re.compile(r"\bNC\b|non-?commercial|research only", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CommercialOnly:
    """A backend that refuses weights which were trained on non-commercial data."""

    inner: Backend

    @property
    def name(self) -> str:
        return self.inner.name

    def load(self, path: Path) -> Graph:
        graph = self.inner.load(path)
        licence = str(graph.metadata.get("licence", ""))
        if RESTRICTED.search(licence):
            raise ModelError(f"{path}: its licence is {licence!r} and models.allow_noncommercial is false; "
                             "name a directory of other weights in models.directory")  # fmt: skip
        return graph

    def describe(self) -> dict[str, str]:
        return self.inner.describe()


def open_backend(name: str, allow_noncommercial: bool = True) -> Backend:
    """Raises ModelError for a backend that is not in the table."""
    if name not in _BACKENDS:
        raise ModelError(f"unknown backend {name!r}; known: {', '.join(_BACKENDS)}")
    backend = _BACKENDS[name]()
    return backend if allow_noncommercial else CommercialOnly(backend)


def models_directory(configured: str | None) -> Path:
    """The configured directory, or the models shipped in the package."""
    directory = Path(configured) if configured else SHIPPED
    if not directory.is_dir():
        raise ModelError(f"no model directory {directory}; unset models.directory to use the shipped models")
    return directory
