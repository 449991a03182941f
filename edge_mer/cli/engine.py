"""``edge-mer engine``: the compiled models of this machine's GPU: build, list, verify, clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import typer

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.config import ModelsConfig, load
from edge_mer.contract.errors import GpuError, MissingExtra, ModelError
from edge_mer.runtime.engine_builds import build_missing, engine_backend, engine_cache, engine_lines, model_files
from edge_mer.runtime.golden import self_test

Action = Annotated[str, typer.Argument(metavar="ACTION", help="build, list, verify or clean")]


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

    if action not in _ACTIONS:
        raise typer.BadParameter(f"unknown action {action!r}; known: {', '.join(_ACTIONS)}")
    resolved, _ = load(config, overrides(setting))
    _ACTIONS[action](resolved.models, everything)


def _build(models: ModelsConfig, everything: bool) -> None:
    build_missing(models, typer.echo)


def _list(models: ModelsConfig, everything: bool) -> None:
    cache = engine_cache(models)
    for line in engine_lines(cache.entries()):
        typer.echo(line)
    typer.echo(f"in {cache.directory}")


def _verify(models: ModelsConfig, everything: bool) -> None:
    """Files first, then what this machine would load: engines that give what the models promise."""

    bad = [entry for entry in engine_cache(models).entries() if entry.fault is not None]
    for entry in bad:
        typer.echo(f"NO  {entry.path.name}: {entry.fault}")
    backend, failed = engine_backend(models, None), False
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


def _clean(models: ModelsConfig, everything: bool) -> None:
    """Everything that this machine's workers would not load: other models, versions, GPUs, options, damaged files."""

    cache = engine_cache(models)
    keep: frozenset[str] = frozenset()
    if not everything:
        try:
            backend = engine_backend(models, None)
            keep = frozenset(backend.key(path).file for path in model_files(models))
        except (GpuError, MissingExtra) as error:
            raise type(error)(
                f"{error}; what fits this machine is unknown, so nothing was removed; --all removes everything"
            ) from error
        keep -= {entry.path.name for entry in cache.entries() if entry.fault is not None}
    for path in cache.clean(keep):
        typer.echo(f"removed {path.name}")


_ACTIONS: Final[Mapping[str, Callable[[ModelsConfig, bool], None]]] = {
    "build": _build,
    "list": _list,
    "verify": _verify,
    "clean": _clean,
}
