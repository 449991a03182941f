"""``edge-mer soak WHAT``: long proofs, to be run before a release."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import Json

# What there is: the file of that name in edge_mer/cli, and its function.
SOAKS = {"replay": "soak_replay", "privacy": "soak_privacy"}


def soak(
    what: Annotated[str, typer.Argument(help=f"one of: {', '.join(SOAKS)}")],
    file: Annotated[Path | None, typer.Option(help="replay: a session; default: one is recorded first")] = None,
    runs: Annotated[int, typer.Option(min=1, help="how many times, at each speed")] = 20,
    seconds: Annotated[float, typer.Option(min=2, help="replay: length of the session that is recorded")] = 10.0,
    toggles: Annotated[int, typer.Option(min=10, help="privacy: how many masks")] = 10_000,
    json: Json = False,
) -> None:
    """Do something many times over and count what went wrong. Exit code 0 only when nothing did."""
    if what not in SOAKS:
        raise typer.BadParameter(f"soak what? one of: {', '.join(SOAKS)}")
    run = getattr(import_module(f"edge_mer.bench.{SOAKS[what]}"), SOAKS[what])
    if not (run(toggles) if what == "privacy" else run(file, runs, seconds, json)):
        raise typer.Exit(1)
