"""``edge-mer bench``: every figure beside its target, every ratio against its rival in the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from edge_mer.bench import (
    bus as bench_bus,
)
from edge_mer.bench import (
    explain as bench_explain,
)
from edge_mer.bench import (
    gateway as bench_hub,
)
from edge_mer.bench import (
    live as bench_live,
)
from edge_mer.bench import (
    privacy as bench_privacy,
)
from edge_mer.bench import (
    runtime as bench_runtime,
)
from edge_mer.bench import (
    session as bench_session,
)
from edge_mer.bench.result import Figure, table
from edge_mer.cli.options import Json


def bench(
    json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, help="length of each live measurement")] = 30.0,
    only: Annotated[str | None, typer.Option(help="bus, runtime, explain, live, session, privacy or hub")] = None,
) -> None:
    """Measure the bus, the models, explanations, the live path, sessions, the privacy switch and the hub.

    Exit code 0 when measured, whether or not targets are met.
    """
    import msgspec

    parts: dict[str, Callable[[], list[Figure]]] = {
        "bus": bench_bus.measure,
        "runtime": bench_runtime.measure,
        "explain": bench_explain.measure,
        "live": lambda: bench_live.measure(seconds),
        "session": lambda: bench_session.measure(seconds),
        "privacy": bench_privacy.measure,
        "hub": bench_hub.measure,
    }
    if only is not None and only not in parts:
        raise typer.BadParameter(f"--only takes {', '.join(parts)}; got {only!r}")
    figures = [figure for name, measure in parts.items() if only in (None, name) for figure in measure()]
    if json:
        for figure in figures:
            typer.echo(msgspec.json.encode({**msgspec.to_builtins(figure), "verdict": figure.verdict}).decode())
    else:
        typer.echo("\n".join(table(figures)))
