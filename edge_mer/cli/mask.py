"""``edge-mer mask M...``: close sensors of the running instance, and say what really happened."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked


def mask(
    modalities: Modalities,
    hard: Annotated[bool, typer.Option("--hard", help="no undo over any bus: only on this host")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Close sensors and purge what was derived from them. Anybody may mask."""
    from edge_mer.cli.instance import ask, connected
    from edge_mer.cli.status import privacy_lines

    names = checked(modalities)
    with connected(directory, config) as bus:
        answer = ask(bus, "mask", names, hard)
        now = bus.clock.now_us()
    for line in privacy_lines(answer.modalities, now):
        typer.echo(line)
    if not answer.ok:
        typer.echo(f"edge-mer: NOT fully masked: {answer.text}", err=True)
        raise typer.Exit(1)
