"""``edge-mer engine``: the compiled models of this machine's GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import ModelsConfig, load
from edge_mer.contract.errors import GpuError, MissingExtra, ModelError
from edge_mer.runtime.engine_builds import build_missing, engine_backend, engine_cache, engine_lines, model_files
from edge_mer.runtime.golden import self_test

engine = command_group(
    "Build, list, verify or clean TensorRT engines for this GPU.\n\n"
    "Engines of TensorRT or TensorRT-RTX for every model, in the configured precision. Exit code 1: no GPU where one "
    "is needed, or an engine is damaged."
)

NONE_YET = "no engines yet; build them on a machine with a GPU: edge-mer engine build"


def _models(config: Path | None, setting: list[str] | None) -> ModelsConfig:
    return load(config, overrides(setting))[0].models


@engine.command()
def build(config: ConfigFile = None, setting: Setting = None) -> None:
    """Build the engines that are missing."""
    build_missing(_models(config, setting), typer.echo)


@engine.command("list")
def list_(config: ConfigFile = None, setting: Setting = None) -> None:
    """Show the engines that exist."""
    cache = engine_cache(_models(config, setting))
    for line in engine_lines(cache.entries()) or [NONE_YET]:
        typer.echo(line)
    typer.echo(f"in {cache.directory}")


@engine.command()
def verify(config: ConfigFile = None, setting: Setting = None) -> None:
    """Check every file, and run the golden vectors where there is a GPU."""
    models = _models(config, setting)
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


@engine.command()
def clean(
    config: ConfigFile = None,
    setting: Setting = None,
    everything: Annotated[bool, typer.Option("--all", help="also engines that fit this machine")] = False,
) -> None:
    """Remove what this machine would not load: other models, versions, GPUs or options, and damaged files."""
    models = _models(config, setting)
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
