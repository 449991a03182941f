"""``edge-mer mask M...``: close sensors of every running instance, and show the result."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.options import persons as named
from edge_mer.cli.switch import report
from edge_mer.client import SwitchClient
from edge_mer.client.instance import find_instances
from edge_mer.contract.control import Answer
from edge_mer.contract.errors import UNPROVEN, EdgeMerError

FAILURE = "NOT fully masked: "


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
    """Close sensors or mask persons; purge what was derived from them.

    Anybody may mask. Exit code 6 when it is not confirmed that everything is closed.
    """
    people = named(modalities)
    names = () if people else checked(modalities)
    if people and (hard or hours):
        raise typer.BadParameter("a mask of persons has no end and cannot be locked; leave out --hours and --hard")
    if hard and hours:
        raise typer.BadParameter("a locked mask has no end; leave out --hours or --hard")
    for_s = round(hours * 3600)

    def asked(switch: SwitchClient) -> Answer:
        return switch.mask_persons(*people) if people else switch.mask(*names, hard=hard, for_s=for_s)

    if at is not None:
        with SwitchClient.paired(at, config) as switch:
            report(asked(switch), FAILURE, UNPROVEN)
        return
    places, failed = find_instances(directory, config), False
    for place in places:
        if len(places) > 1:
            typer.echo(f"in {place}")
        try:
            with SwitchClient.local(place) as switch:
                report(asked(switch), FAILURE, UNPROVEN)
        except typer.Exit:
            failed = True
        except EdgeMerError as error:  # the other instances are masked all the same
            typer.echo(f"edge-mer: {error}", err=True)
            failed = True
    if failed:
        raise typer.Exit(UNPROVEN)
