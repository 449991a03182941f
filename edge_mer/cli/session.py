"""``edge-mer session``: look into recordings, mend, cut, export, erase and score them. One file per command."""

from __future__ import annotations

import typer

from edge_mer.cli.session_erase import erase
from edge_mer.cli.session_export import export
from edge_mer.cli.session_info import info
from edge_mer.cli.session_recover import recover
from edge_mer.cli.session_score import score
from edge_mer.cli.session_trim import trim

session = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look into recorded sessions, mend, cut, export, erase and score them.",
)
for command in (info, recover, trim, export, erase, score):
    session.command(command.__name__)(command)
