"""``edge-mer session export FILE OUT``: for other programs; the suffix of OUT is the format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.config import load
from edge_mer.contract.errors import SessionError
from edge_mer.session import export as exports
from edge_mer.session.keys import key_store
from edge_mer.session.player import components_for
from edge_mer.session.reader import Session, check_own
from edge_mer.session.rewrite import unsealed

SUFFIXES = ".csv, .parquet (estimates), .wav (audio), .mkv, .mp4 (video and audio), .mcap (unsealed, for Foxglove)"


def export(
    file: Annotated[Path, typer.Argument(help="session file")],
    out: Annotated[Path, typer.Argument(help=f"{SUFFIXES}; never overwritten")],
    every: Annotated[bool, typer.Option("--all", help="also provisional and revised estimates")] = False,
    config: ConfigFile = None,
) -> None:
    """Export estimates as a table, or recorded raw media."""
    settings, _ = load(config)
    keys = key_store(settings)
    kind = out.suffix.lower()
    if kind not in (*exports.TABLES, *exports.MEDIA, ".mcap"):
        raise typer.BadParameter(f"unknown suffix {out.suffix or '(none)'}; OUT ends in one of {SUFFIXES}")
    session = Session(file, keys)
    check_own(session)
    try:
        if kind in exports.TABLES:
            offset = session.opening.wall_offset_us if session.opening is not None else 0
            found = exports.estimates(session, components_for(session, settings), every)
            typer.echo(f"{out}: {exports.TABLES[kind]((exports.row(m, offset) for m in found), out)} estimates")
        elif kind in exports.MEDIA:
            count = exports.MEDIA[kind](session, out)
            typer.echo(f"{out}: {count} {'samples' if kind == '.wav' else 'frames'}")
            if kind == ".mp4" and exports.browser_encoder() is None:
                typer.echo("this PyAV cannot encode H.264: the file holds MJPEG, which browsers do not play", err=True)
        else:
            trailer = unsealed(file, out, keys)
            typer.echo(f"{out}: {sum(trailer.messages.values())} messages, unsealed; open it in Foxglove")
    except FileExistsError:
        raise SessionError(f"{out} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise SessionError(f"{out}: {error.strerror or error}") from error
    for fault in session.faults:
        typer.echo(f"damaged: {fault}", err=True)
