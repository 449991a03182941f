"""``edge-mer soak WHAT``: long tests, to be run before a release."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import Json

# A module of edge_mer.bench, and its function of the same name.
SOAKS = {"replay": "soak_replay", "privacy": "soak_privacy"}
SIGNALS = "soak_signals"


def soak(
    what: Annotated[str, typer.Argument(help=f"one of: {', '.join(SOAKS)}")],
    file: Annotated[Path | None, typer.Option(help="replay: session file; default: one is recorded first")] = None,
    runs: Annotated[int, typer.Option(min=1, help="replay: repetitions at each speed")] = 20,
    seconds: Annotated[float, typer.Option(min=2, help="replay: length of the recorded session")] = 10.0,
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
    if not (run(toggles) if what == "privacy" else run(file, runs, seconds, json)):
        raise typer.Exit(1)
