"""``edge-mer soak WHAT``: long tests, to be run before a release."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import Json

# A module of edge_mer.bench, and its function of the same name.
SOAKS = {"replay": "soak_replay", "privacy": "soak_privacy", "doors": "soak_doors"}
SIGNALS = "soak_signals"


def soak(
    what: Annotated[str, typer.Argument(help=f"one of: {', '.join(SOAKS)}")],
    file: Annotated[Path | None, typer.Option(help="replay: session file; default: one is recorded first")] = None,
    runs: Annotated[int, typer.Option(min=1, help="replay: repetitions at each speed")] = 20,
    seconds: Annotated[
        float, typer.Option(min=2, help="length; replay: of the recorded session; doors: of each attack")
    ] = 10.0,
    toggles: Annotated[int, typer.Option(min=10, help="privacy: number of masks")] = 10_000,
    signals: Annotated[
        bool, typer.Option("--signals", help="privacy: stop and kill every process at random meanwhile")
    ] = False,
    json: Json = False,
) -> None:
    """Repeat a test many times and count its failures.

    Exit code 0 only when there are none.
    """
    if what not in SOAKS:
        raise typer.BadParameter(f"unknown soak test {what!r}; choose one of: {', '.join(SOAKS)}")
    name = SIGNALS if what == "privacy" and signals else SOAKS[what]
    run = getattr(import_module(f"edge_mer.bench.{name}"), name)
    arguments = {"privacy": (toggles,), "doors": (seconds,), "replay": (file, runs, seconds, json)}
    if not run(*arguments[what]):
        raise typer.Exit(1)
