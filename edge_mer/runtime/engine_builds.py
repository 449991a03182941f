"""Engines of TensorRT and TensorRT-RTX for all models of a configuration: lists them and builds missing ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.modalities import MODEL_FILES
from edge_mer.runtime.engines import CachedEngine, EngineCache, engines_directory
from edge_mer.runtime.select import (
    RuntimeSettings,
    in_precision,
    models_directory,
    runs_on_cpu,
    tensorrt,
    wants_engines,
)
from edge_mer.runtime.tensorrt import RTX, TENSORRT, TensorRT

PROGRESS_S: Final = 3.0


def build_missing(settings: RuntimeSettings, report: Callable[[str], None]) -> None:
    """Build the engine of every model that has none. Raises GpuError, MissingExtra, ModelError."""
    backend = engine_backend(settings, _Progress(report))
    for path in model_files(settings):
        key, built = backend.build(path)
        report(f"{'built' if built else 'there'}  {key.file}")


def prepare(settings: RuntimeSettings, report: Callable[[str], None]) -> None:
    """Before workers start: build the engines of the configured backend, if it is available.

    With ``auto`` a failed build is reported and the workers use the next backend; otherwise it raises.
    """

    if not wants_engines(settings):
        return
    try:
        build_missing(settings, report)
    except EdgeMerError as error:
        if settings.backend != "auto":
            raise
        report(f"no engines: {error}")


def model_files(settings: RuntimeSettings) -> list[Path]:
    """The files that the workers load through the configured backend, each in the configured precision."""

    directory = models_directory(settings.directory)
    files = [in_precision(directory / n, settings.precision) for n in MODEL_FILES if n.endswith(".onnx")]
    return [path for path in files if not runs_on_cpu(path)]


def engine_lines(entries: Iterable[CachedEngine]) -> list[str]:
    """One line per engine file."""
    out = []
    for entry in entries:
        if entry.header is None or entry.fault is not None:
            out.append(f"NO  {entry.path.name}: {entry.fault}")
            continue
        key = entry.header.key
        gpu = f"GPU {key.capability}" if key.capability else "any RTX GPU"
        out.append(
            f"ok  {key.model:<22} {key.precision}  {key.runtime} {key.version}, {gpu}, "
            f"{entry.header.plan_bytes / 1e6:.1f} MB, built in {entry.header.seconds:.1f} s"
        )
    return out


class _Progress:
    """Reports the progress of a build every few seconds."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report, self._reported_s = report, time.monotonic()

    def __call__(self, phase: str, step: int, steps: int) -> None:
        if (now := time.monotonic()) - self._reported_s >= PROGRESS_S:
            self._reported_s = now
            self._report(f"  {phase}: {step + 1} of {steps}")


def engine_backend(settings: RuntimeSettings, progress: _Progress | None) -> TensorRT:
    """The configured backend; with ``auto`` the installed one. It builds engines only if ``progress`` is given."""

    name: str = settings.backend
    if name not in (TENSORRT, RTX):
        name = RTX if find_spec("tensorrt") is None and find_spec("tensorrt_rtx") is not None else TENSORRT
    return tensorrt(settings, name, may_build=progress is not None, progress=progress)


def engine_cache(settings: RuntimeSettings) -> EngineCache:

    return EngineCache(engines_directory(settings.engines))
