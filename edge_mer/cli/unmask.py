"""``edge-mer unmask M...``: let sensors of the running instance open again."""

from __future__ import annotations

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.switch import report
from edge_mer.client import SwitchClient
from edge_mer.client.instance import find_instances
from edge_mer.contract.errors import ConfigError


def unmask(modalities: Modalities, at: At = None, directory: Directory = None, config: ConfigFile = None) -> None:
    """Let sensors open again, by a grant of this console's key.

    Nothing was captured while they were masked.
    """
    names = checked(modalities)
    if at is not None:
        switch = SwitchClient.paired(at, config)
    else:
        places = find_instances(directory, config)
        if len(places) > 1:
            raise ConfigError(
                f"several instances run; name one: {' or '.join(f'--directory {place}' for place in places)}"
            )
        switch = SwitchClient.local(places[0])
    with switch:
        answer = switch.unmask(*names)
    report(answer, "")
