"""``edge-mer mask M...``: close sensors of the running instance, and say what really happened."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.switch import open_switch, report


def mask(
    modalities: Modalities,
    hard: Annotated[bool, typer.Option("--hard", help="no undo over any bus: only the button, or root here")] = False,
    hours: Annotated[float, typer.Option("--hours", min=0, max=720, help="guest mode: ends by itself; 0 never")] = 0,
    at: At = None,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Close sensors and purge what was derived from them. Anybody may mask."""

    names = checked(modalities)
    if hard and hours:
        raise typer.BadParameter("a hard mask does not end by itself; leave out --hours or --hard")
    with open_switch(at, directory, config) as switch:
        answer = switch.mask(*names, hard=hard, for_s=round(hours * 3600))
    report(answer, "NOT fully masked: ")
