"""Which backend, and where its model files lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge_mer.errors import ModelError
from edge_mer.runtime.backend import Backend
from edge_mer.runtime.onnx import OnnxRuntime

SHIPPED = Path(__file__).parent.parent / "models"

_BACKENDS: Mapping[str, Callable[[], Backend]] = {"onnxruntime": OnnxRuntime}


def open_backend(name: str) -> Backend:
    """Raises ModelError for a backend that is not in the table."""
    if name not in _BACKENDS:
        raise ModelError(f"unknown backend {name!r}; known: {', '.join(_BACKENDS)}")
    return _BACKENDS[name]()


def models_directory(configured: str | None) -> Path:
    """The configured directory, or the models shipped in the package."""
    directory = Path(configured) if configured else SHIPPED
    if not directory.is_dir():
        raise ModelError(f"no model directory {directory}; unset models.directory to use the shipped models")
    return directory
