"""``edge-mer bench``: every figure beside its target, every ratio against its rival in the same run."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import Json


def bench(
    json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, help="length of each live measurement")] = 30.0,
    only: Annotated[str | None, typer.Option(help="bus or live")] = None,
) -> None:
    """Measure the bus and the live path on this machine. Exit code 0 when measured, whether or not targets are met."""
    import msgspec

    from edge_mer.cli import bench_bus, bench_live
    from edge_mer.cli.figures import table

    if only not in (None, "bus", "live"):
        raise typer.BadParameter(f"--only takes bus or live, got {only!r}")
    figures = [] if only == "live" else bench_bus.measure()
    figures += [] if only == "bus" else bench_live.measure(seconds)
    if json:
        for figure in figures:
            typer.echo(msgspec.json.encode({**msgspec.to_builtins(figure), "verdict": figure.verdict}).decode())
    else:
        typer.echo("\n".join(table(figures)))
