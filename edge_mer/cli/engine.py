"""``edge-mer engine``: the compiled models of this machine's GPU: build, list, verify, clean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edge_mer.cli.options import ConfigFile, Setting, overrides

if TYPE_CHECKING:
    from edge_mer.config import Models
    from edge_mer.runtime.engines import EngineCache, Entry
    from edge_mer.runtime.tensorrt import TensorRT

Action = Annotated[str, typer.Argument(metavar="ACTION", help="build, list, verify or clean")]

PROGRESS_S: Final = 3.0


def engine(
    action: Action,
    config: ConfigFile = None,
    setting: Setting = None,
    everything: Annotated[bool, typer.Option("--all", help="clean: also engines that fit this machine")] = False,
) -> None:
    """Engines of TensorRT or TensorRT-RTX for every model, in the configured precision.

    build makes what is missing; list shows what is there; verify checks every file and runs the golden vectors where
    there is a GPU; clean removes what no longer fits. Exit code 1: no GPU where one is needed, or an engine is bad.
    """
    from edge_mer.config import load

    if action not in _ACTIONS:
        raise typer.BadParameter(f"unknown action {action!r}; known: {', '.join(_ACTIONS)}")
    resolved, _ = load(config, overrides(setting))
    _ACTIONS[action](resolved.models, everything)


def build_missing(models: Models, say: Callable[[str], None]) -> None:
    """Make sure that every model has its engine. Raises GpuError, MissingExtra, ModelError."""
    backend = _backend(models, _Progress(say))
    for path in model_files(models):
        key, built = backend.build(path)
        say(f"{'built' if built else 'there'}  {key.file}")


def prepare(models: Models, say: Callable[[str], None]) -> None:
    """Before workers start: build the engines that the configured backend would use, where it can be used at all.

    With ``auto`` a build that fails is said and leaves the next backend to the workers; else it raises.
    """
    from edge_mer.errors import EdgeMerError
    from edge_mer.runtime.select import wants_engines

    if not wants_engines(models):
        return
    try:
        build_missing(models, say)
    except EdgeMerError as error:
        if models.backend != "auto":
            raise
        say(f"no engines: {error}")


def model_files(models: Models) -> list[Path]:
    """What the workers load, each in the configured precision."""
    from edge_mer.domain import COMBINATIONS
    from edge_mer.runtime.select import in_precision, models_directory

    directory = models_directory(models.directory)
    names = ("speech.onnx", "audio.onnx", "face.onnx", "text.onnx", *(f"fusion.{c}.onnx" for c in COMBINATIONS))
    return [in_precision(directory / name, models.precision) for name in names]


def _build(models: Models, everything: bool) -> None:
    build_missing(models, typer.echo)


def _list(models: Models, everything: bool) -> None:
    cache = _cache(models)
    for line in lines(cache.entries()):
        typer.echo(line)
    typer.echo(f"in {cache.directory}")


def _verify(models: Models, everything: bool) -> None:
    """Files first, then what this machine would load: engines that give what the models promise."""
    from edge_mer.errors import GpuError, MissingExtra, ModelError
    from edge_mer.runtime.golden import self_test

    bad = [entry for entry in _cache(models).entries() if entry.fault is not None]
    for entry in bad:
        typer.echo(f"NO  {entry.path.name}: {entry.fault}")
    backend, failed = _backend(models, None), False
    for path in model_files(models):
        try:
            found = self_test(backend.load(path))
        except (GpuError, MissingExtra) as error:
            typer.echo(f"--  engines were not run: {error}")
            break
        except ModelError as error:
            failed = True
            typer.echo(f"NO  {path.name}: {error}")
        else:
            typer.echo(f"ok  {path.name}: {'; '.join(map(str, found))}")
    if bad or failed:
        raise typer.Exit(1)


def _clean(models: Models, everything: bool) -> None:
    """Everything that this machine's workers would not load: other models, versions, GPUs, options, damaged files."""
    from edge_mer.errors import GpuError, MissingExtra

    cache = _cache(models)
    keep: frozenset[str] = frozenset()
    if not everything:
        try:
            backend = _backend(models, None)
            keep = frozenset(backend.key(path).file for path in model_files(models))
        except (GpuError, MissingExtra) as error:
            raise type(error)(f"{error}; what fits this machine is unknown, so nothing was removed; --all removes "
                              "everything") from error  # fmt: skip
        keep -= {entry.path.name for entry in cache.entries() if entry.fault is not None}
    for path in cache.clean(keep):
        typer.echo(f"removed {path.name}")


_ACTIONS: Final[Mapping[str, Callable[[Models, bool], None]]] = {
    "build": _build,
    "list": _list,
    "verify": _verify,
    "clean": _clean,
}


def lines(entries: Iterable[Entry]) -> list[str]:
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


def _backend(models: Models, progress: _Progress | None) -> TensorRT:
    """The one of the config; with ``auto`` whichever is installed. Only build may build."""
    from importlib.util import find_spec

    from edge_mer.runtime.select import tensorrt
    from edge_mer.runtime.tensorrt import RTX, TENSORRT

    name: str = models.backend
    if name not in (TENSORRT, RTX):
        name = RTX if find_spec("tensorrt") is None and find_spec("tensorrt_rtx") is not None else TENSORRT
    return tensorrt(models, name, may_build=progress is not None, progress=progress)


def _cache(models: Models) -> EngineCache:
    from edge_mer.runtime.engines import EngineCache, engines_directory

    return EngineCache(engines_directory(models.engines))
