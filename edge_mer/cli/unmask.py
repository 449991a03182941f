"""``edge-mer unmask M...``: let sensors of the running instance open again."""

from __future__ import annotations

import msgspec

from edge_mer.cli.options import At, ConfigFile, Directory, Modalities
from edge_mer.cli.options import modalities as checked
from edge_mer.cli.options import persons as named
from edge_mer.cli.switch import report
from edge_mer.client import SwitchClient
from edge_mer.client.instance import find_instances
from edge_mer.contract.control import Answer
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ConfigError


def unmask(modalities: Modalities, at: At = None, directory: Directory = None, config: ConfigFile = None) -> None:
    """Let sensors open or persons be seen again, by a signed grant.

    Nothing was captured while they were masked. What may not be unmasked is named, with exit code 1; the rest opens.
    """
    people = named(modalities)
    names = () if people else checked(modalities)
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
        answer = switch.unmask_persons(*people) if people else unmask_allowed(switch, names)
    report(answer)


def unmask_allowed(switch: SwitchClient, names: tuple[Modality, ...]) -> Answer:
    """Unmask all of ``names``, else those that may be; the answer names the others."""
    answer = switch.unmask(*names)
    if answer.ok or len(names) == 1:
        return answer
    found = {m: switch.unmask(m) for m in names}
    refused = {m: a.text for m, a in found.items() if not a.ok}
    if len(refused) == len(names):
        return answer
    text = "; ".join(f"{m} stays masked: {why}" for m, why in refused.items())
    return msgspec.structs.replace(switch.status(), ok=not refused, text=text)
