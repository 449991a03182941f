"""``edge-mer unmask M...``: let sensors of the running instance open again."""

from __future__ import annotations

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.switch import open_switch, report


def unmask(modalities: Modalities, at: At = None, directory: Directory = None, config: ConfigFile = None) -> None:
    """Let sensors open again, by a grant of this console's key.

    Nothing was captured while they were masked.
    """
    names = checked(modalities)
    with open_switch(at, directory, config) as switch:
        answer = switch.unmask(*names)
    report(answer, "")
