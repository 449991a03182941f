"""``edge-mer bench``: every figure beside its target, every ratio against its rival in the same run."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import Json


def bench(
    json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, help="length of each live measurement")] = 30.0,
    only: Annotated[str | None, typer.Option(help="bus, live or privacy")] = None,
) -> None:
    """Measure bus, live path and privacy switch on this machine.

    Exit code 0 when measured, whether or not targets are met.
    """
    import msgspec

    from edge_mer.cli import bench_bus, bench_live, bench_privacy
    from edge_mer.cli.figures import table

    benches = {
        "bus": bench_bus.measure,
        "live": lambda: bench_live.measure(seconds),
        "privacy": bench_privacy.measure,
    }
    if only is not None and only not in benches:
        raise typer.BadParameter(f"--only takes one of {', '.join(benches)}, got {only!r}")
    figures = [figure for name, measure in benches.items() if only in (None, name) for figure in measure()]
    if json:
        for figure in figures:
            typer.echo(msgspec.json.encode({**msgspec.to_builtins(figure), "verdict": figure.verdict}).decode())
    else:
        typer.echo("\n".join(table(figures)))
