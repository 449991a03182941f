"""Selects backend, precision and model directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.auto import Auto
from edge_mer.runtime.backend import Backend, Graph
from edge_mer.runtime.cuda import driver_available
from edge_mer.runtime.engines import EngineCache, Options, engines_directory
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.tensorrt import RTX, TENSORRT, TensorRT
from edge_mer.runtime.tensorrt_build import Progress

SHIPPED = Path(__file__).parent.parent / "models"
AUTO: Final = "auto"
# Imported by name, so that the run-time path does not import torch.
_TORCH: Final = "edge_mer.runtime.torch"
# How the licences in the models' metadata name data for non-commercial use.
RESTRICTED = re.compile(r"\bNC\b|non-?commercial|research only", re.IGNORECASE)


class RuntimeSettings(Protocol):
    """Settings that the selection depends on, as in the config section ``[models]``."""

    @property
    def directory(self) -> str | None: ...

    @property
    def backend(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def allow_noncommercial(self) -> bool: ...

    @property
    def engines(self) -> str | None: ...

    @property
    def engine_level(self) -> int: ...

    @property
    def workspace_mb(self) -> int | None: ...

    @property
    def dla_core(self) -> int | None: ...


def tensorrt(
    settings: RuntimeSettings, name: str, may_build: bool = False, progress: Progress | None = None
) -> TensorRT:
    """TensorRT or TensorRT-RTX over the configured engine cache."""
    options = Options(settings.engine_level, settings.workspace_mb, settings.dla_core)
    return TensorRT(name, EngineCache(engines_directory(settings.engines)), options, may_build, progress)


def _onnx(cuda: bool) -> Backend:
    from edge_mer.runtime import onnx  # here: commands and captures select no backend, and start faster without it

    return onnx.OnnxRuntime(onnx.CUDA if cuda else onnx.CPU)


def _onnx_has_cuda() -> bool:
    from edge_mer.runtime import onnx

    return onnx.has_cuda()


def _torch(settings: RuntimeSettings) -> Backend:
    backend: Backend = import_module(_TORCH).Torch()
    return backend


_BACKENDS: Final[Mapping[str, Callable[[RuntimeSettings], Backend]]] = {
    TENSORRT: lambda settings: tensorrt(settings, TENSORRT),
    RTX: lambda settings: tensorrt(settings, RTX),
    "onnxruntime-cuda": lambda _: _onnx(cuda=True),
    "onnxruntime": lambda _: _onnx(cuda=False),
    "torch": _torch,
}
# Best first, with a fast check of availability: without a driver no heavy module is imported.
_AUTOMATIC: Final[Mapping[str, Callable[[], bool]]] = {
    TENSORRT: lambda: driver_available() and find_spec("tensorrt") is not None,
    RTX: lambda: driver_available() and find_spec("tensorrt_rtx") is not None,
    "onnxruntime-cuda": lambda: driver_available() and _onnx_has_cuda(),
    "onnxruntime": lambda: True,
}


@dataclass(frozen=True, slots=True)
class InPrecision:
    """Loads ``<directory>/<precision>/<file>`` where it exists, else the FP32 file."""

    inner: Backend
    precision: str
    without: dict[str, None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.inner.name

    def load(self, path: Path) -> Graph:
        form = in_precision(path, self.precision)
        if form == path:
            self.without[path.name] = None
        return self.inner.load(form)

    def describe(self) -> dict[str, str]:
        plain = f" (fp32: {', '.join(self.without)})" if self.without else ""
        return {**self.inner.describe(), "precision": self.precision + plain}


@dataclass(frozen=True, slots=True)
class OwnBackend:
    """A file whose metadata names ONNX Runtime as its ``backend`` runs there, on the CPU, whatever is chosen."""

    inner: Backend

    @property
    def name(self) -> str:
        return self.inner.name

    def load(self, path: Path) -> Graph:
        return _onnx(cuda=False).load(path) if runs_on_cpu(path) else self.inner.load(path)

    def describe(self) -> dict[str, str]:
        return self.inner.describe()


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
            raise ModelError(
                f"{path}: its licence is {licence!r} and models.allow_noncommercial is false; "
                "name a directory of other weights in models.directory"
            )
        return graph

    def describe(self) -> dict[str, str]:
        return self.inner.describe()


def open_backend(settings: RuntimeSettings) -> Backend:
    """``auto`` falls back; a named backend is used or fails. Raises ModelError for an unknown name."""
    if settings.backend == AUTO:
        available = [name for name, present in _AUTOMATIC.items() if present()]
        backend: Backend = Auto({name: _opener(name, settings) for name in available})
    elif settings.backend in _BACKENDS:
        backend = _BACKENDS[settings.backend](settings)
    else:
        raise ModelError(f"unknown backend {settings.backend!r}; known: {', '.join((AUTO, *_BACKENDS))}")
    if settings.backend != "onnxruntime":
        backend = OwnBackend(backend)
    if settings.precision != "fp32":
        backend = InPrecision(backend, settings.precision)
    return backend if settings.allow_noncommercial else CommercialOnly(backend)


def wants_engines(settings: RuntimeSettings) -> bool:
    """Whether TensorRT or TensorRT-RTX would be used or tried."""
    if settings.backend == AUTO:
        return any(_AUTOMATIC[name]() for name in (TENSORRT, RTX))
    return settings.backend in (TENSORRT, RTX)


def runs_on_cpu(path: Path) -> bool:
    """Whether a file is made for ONNX Runtime alone: INT8 whose scales are found as it runs."""
    return path.is_file() and read_model(path).metadata.get("backend") == "onnxruntime"


def in_precision(path: Path, precision: str) -> Path:
    """The form of a model in another precision, or the model itself where no such form exists."""
    form = path.parent / precision / path.name
    return form if form.is_file() else path


def notes(backend: Backend) -> tuple[str, ...]:
    """Notes for the health topic: the backend in use, and refused backends with reasons."""
    facts = backend.describe()
    used = f"{facts['backend']} {facts.get('version', '')} {facts.get('precision', 'fp32')}"
    return (used, f"refused: {facts['refused']}") if "refused" in facts else (used,)


def models_directory(configured: str | None) -> Path:
    """The configured directory, or the models shipped in the package."""
    directory = Path(configured) if configured else SHIPPED
    if not directory.is_dir():
        raise ModelError(f"no model directory {directory}; unset models.directory to use the shipped models")
    return directory


def _opener(name: str, settings: RuntimeSettings) -> Callable[[], Backend]:
    return lambda: _BACKENDS[name](settings)
