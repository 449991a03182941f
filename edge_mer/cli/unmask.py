"""``edge-mer unmask M...``: let sensors of the running instance open again."""

from __future__ import annotations

import typer

from edge_mer.cli.options import ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked


def unmask(modalities: Modalities, directory: Directory = None, config: ConfigFile = None) -> None:
    """Let sensors open again. What was said and seen meanwhile was never captured."""
    from edge_mer.cli.instance import ask, connected
    from edge_mer.cli.status import privacy_lines

    names = checked(modalities)
    with connected(directory, config) as bus:
        answer = ask(bus, "unmask", names)
        now = bus.clock.now_us()
    for line in privacy_lines(answer.modalities, now):
        typer.echo(line)
    if not answer.ok:
        typer.echo(f"edge-mer: {answer.text}", err=True)
        raise typer.Exit(1)
