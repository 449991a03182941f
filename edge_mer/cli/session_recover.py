"""``edge-mer session recover FILE OUT``: everything whole of a cut or damaged recording, as a finished one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.record import summary
from edge_mer.config import load
from edge_mer.session.keys import key_store
from edge_mer.session.rewrite import recover as mend


def recover(
    file: Annotated[Path, typer.Argument(help="session file that was cut off or damaged")],
    out: Annotated[Path, typer.Argument(help="session file to write; never overwritten")],
    config: ConfigFile = None,
) -> None:
    """Write every whole chunk into a finished session, and name what was damaged."""

    trailer, faults = mend(file, out, key_store(load(config)[0]))
    for fault in faults:
        typer.echo(f"not whole: {fault}", err=True)
    typer.echo(summary(out, trailer))
