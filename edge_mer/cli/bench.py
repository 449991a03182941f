"""``edge-mer bench``: every figure beside its target, every ratio against its alternative in the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_mer.bench import bus, explain, gateway, house, live, privacy, runtime, session
from edge_mer.bench.result import Figure, table
from edge_mer.bench.results_file import measured_here, rewritten
from edge_mer.cli.options import Json


def bench(
    json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, help="length of each live measurement")] = 30.0,
    only: Annotated[
        str | None, typer.Option(help="bus, runtime, explain, live, session, privacy, hub or house")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file whose tables of these parts are rewritten")] = None,
) -> None:
    """Measure speed and reliability against their targets.

    Covers the bus, the models, explanations, the live path, sessions, the privacy switch, the hub and a house of rooms.
    Exit code 0 when measured, whether or not targets are met.
    """
    parts: dict[str, Callable[[], list[Figure]]] = {
        "bus": bus.measure,
        "runtime": runtime.measure,
        "explain": explain.measure,
        "live": lambda: live.measure(seconds),
        "session": lambda: session.measure(seconds),
        "privacy": privacy.measure,
        "hub": gateway.measure,
        "house": house.measure,
    }
    if write is not None and not write.parent.is_dir():
        raise typer.BadParameter(f"--write {write}: {write.parent} is not a directory; create it first")
    if only is not None and only not in parts:
        raise typer.BadParameter(f"--only takes {', '.join(parts)}; got {only!r}")
    figures: list[Figure] = []
    for name, measure in parts.items():
        if only in (None, name):
            figures += (found := measure())
            if write is not None:
                _rewrite(write, name, found, f"edge-mer bench --only {name} --seconds {seconds:g}")
    if json:
        for figure in figures:
            typer.echo(msgspec.json.encode({**msgspec.to_builtins(figure), "verdict": figure.verdict}).decode())
    else:
        typer.echo("\n".join(table(figures)))


def _rewrite(path: Path, part: str, figures: list[Figure], command: str) -> None:
    text = path.read_text() if path.is_file() else "# Measured figures\n"
    path.write_text(rewritten(text, part, figures, measured_here(command)))
