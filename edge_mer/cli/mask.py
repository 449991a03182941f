"""``edge-mer mask M...``: close sensors of the running instance, and show the result."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.switch import open_switch, report


def mask(
    modalities: Modalities,
    hard: Annotated[
        bool, typer.Option("--hard", help="lock: only the physical button or root on this host can unmask")
    ] = False,
    hours: Annotated[
        float, typer.Option("--hours", min=0, max=720, help="unmask automatically after N hours (0 = never)")
    ] = 0,
    at: At = None,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Close sensors and purge what was derived from them.

    Anybody may mask.
    """
    names = checked(modalities)
    if hard and hours:
        raise typer.BadParameter("a locked mask has no end; leave out --hours or --hard")
    with open_switch(at, directory, config) as switch:
        answer = switch.mask(*names, hard=hard, for_s=round(hours * 3600))
    report(answer, "NOT fully masked: ")
