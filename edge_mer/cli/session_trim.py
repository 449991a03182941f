"""``edge-mer session trim FILE OUT --from S --to S``: a part of a recording, still verifiable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, From, To
from edge_mer.cli.record import summary
from edge_mer.config import load
from edge_mer.contract.clock import SECOND
from edge_mer.session.keys import key_store
from edge_mer.session.rewrite import trim as rewrite


def trim(
    file: Annotated[Path, typer.Argument(help="session file")],
    out: Annotated[Path, typer.Argument(help="session file to write; never overwritten")],
    begin: From = 0.0,
    end: To = None,
    config: ConfigFile = None,
) -> None:
    """Copy a range of seconds into a new session.

    Sealed parts stay sealed with the same key.
    """
    until = None if end is None else round(end * SECOND)
    typer.echo(summary(out, rewrite(file, out, round(begin * SECOND), until, key_store(load(config)[0]))))
