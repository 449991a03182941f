"""Engines of TensorRT and TensorRT-RTX for all models of a configuration: what there is, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.contract.errors import EdgeMerError
from edge_mer.runtime.engines import CachedEngine, EngineCache, engines_directory
from edge_mer.runtime.select import RuntimeSettings, in_precision, models_directory, tensorrt, wants_engines
from edge_mer.runtime.tensorrt import RTX, TENSORRT, TensorRT

PROGRESS_S: Final = 3.0


def build_missing(settings: RuntimeSettings, say: Callable[[str], None]) -> None:
    """Make sure that every model has its engine. Raises GpuError, MissingExtra, ModelError."""
    backend = engine_backend(settings, _Progress(say))
    for path in model_files(settings):
        key, built = backend.build(path)
        say(f"{'built' if built else 'there'}  {key.file}")


def prepare(settings: RuntimeSettings, say: Callable[[str], None]) -> None:
    """Before workers start: build the engines that the configured backend would use, where it can be used at all.

    With ``auto`` a build that fails is said and leaves the next backend to the workers; else it raises.
    """

    if not wants_engines(settings):
        return
    try:
        build_missing(settings, say)
    except EdgeMerError as error:
        if settings.backend != "auto":
            raise
        say(f"no engines: {error}")


def model_files(settings: RuntimeSettings) -> list[Path]:
    """What the workers load, each in the configured precision."""

    directory = models_directory(settings.directory)
    names = (
        "speech.onnx",
        "audio.onnx",
        "face.onnx",
        "yunet.onnx",
        "text.onnx",
        *(f"fusion.{c}.onnx" for c in COMBINATIONS),
    )
    return [in_precision(directory / name, settings.precision) for name in names]


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
    """Says how far a build is, every few seconds: most are done before."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, time.monotonic()

    def __call__(self, phase: str, step: int, steps: int) -> None:
        if (now := time.monotonic()) - self._said >= PROGRESS_S:
            self._said = now
            self._say(f"  {phase}: {step + 1} of {steps}")


def engine_backend(settings: RuntimeSettings, progress: _Progress | None) -> TensorRT:
    """The one of the config; with ``auto`` whichever is installed. Only build may build."""

    name: str = settings.backend
    if name not in (TENSORRT, RTX):
        name = RTX if find_spec("tensorrt") is None and find_spec("tensorrt_rtx") is not None else TENSORRT
    return tensorrt(settings, name, may_build=progress is not None, progress=progress)


def engine_cache(settings: RuntimeSettings) -> EngineCache:

    return EngineCache(engines_directory(settings.engines))
