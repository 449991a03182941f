"""``edge-mer session recover FILE OUT``: the intact part of a truncated or damaged recording, as a finished one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.record import summary
from edge_mer.config import load
from edge_mer.session.keys import key_store
from edge_mer.session.rewrite import recover as rewrite


def recover(
    file: Annotated[Path, typer.Argument(help="session file that was truncated or damaged")],
    out: Annotated[Path, typer.Argument(help="session file to write; never overwritten")],
    config: ConfigFile = None,
) -> None:
    """Write the intact part of a damaged session.

    The result is a finished session; what was damaged is listed.
    """
    trailer, faults = rewrite(file, out, key_store(load(config)[0]))
    for fault in faults:
        typer.echo(f"damaged: {fault}", err=True)
    typer.echo(summary(out, trailer))
