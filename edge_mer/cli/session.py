"""``edge-mer session``: inspect, repair, trim, export, erase and score recordings. One module per command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_mer.cli.typer_apps import CommandRow, LazyGroup, command_group

COMMANDS: Final[Mapping[str, CommandRow]] = {
    "info": CommandRow("edge_mer.cli.session_info", "Show what a session holds."),
    "recover": CommandRow("edge_mer.cli.session_recover", "Write the intact part of a damaged session."),
    "trim": CommandRow("edge_mer.cli.session_trim", "Copy a range of seconds into a new session."),
    "export": CommandRow("edge_mer.cli.session_export", "Export estimates as a table, or recorded raw media."),
    "erase": CommandRow("edge_mer.cli.session_erase", "Destroy the keys of modalities, which cannot be undone."),
    "score": CommandRow("edge_mer.cli.session_score", "Score final estimates against time-stamped labels."),
}


class SessionCommands(LazyGroup):
    rows = COMMANDS


session = command_group("Inspect, repair, trim, export, erase and score sessions.", SessionCommands)
