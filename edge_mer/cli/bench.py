"""``edge-mer bench``: every figure beside its target, every ratio against its alternative in the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from edge_mer.bench import bus, explain, gateway, live, privacy, runtime, session
from edge_mer.bench.result import Figure, table
from edge_mer.cli.options import Json


def bench(
    json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, help="length of each live measurement")] = 30.0,
    only: Annotated[str | None, typer.Option(help="bus, runtime, explain, live, session, privacy or hub")] = None,
) -> None:
    """Measure speed and reliability against their targets.

    Covers the bus, the models, explanations, the live path, sessions, the privacy switch and the hub. Exit code 0 when
    measured, whether or not targets are met.
    """
    parts: dict[str, Callable[[], list[Figure]]] = {
        "bus": bus.measure,
        "runtime": runtime.measure,
        "explain": explain.measure,
        "live": lambda: live.measure(seconds),
        "session": lambda: session.measure(seconds),
        "privacy": privacy.measure,
        "hub": gateway.measure,
    }
    if only is not None and only not in parts:
        raise typer.BadParameter(f"--only takes {', '.join(parts)}; got {only!r}")
    figures = [figure for name, measure in parts.items() if only in (None, name) for figure in measure()]
    if json:
        for figure in figures:
            typer.echo(msgspec.json.encode({**msgspec.to_builtins(figure), "verdict": figure.verdict}).decode())
    else:
        typer.echo("\n".join(table(figures)))
