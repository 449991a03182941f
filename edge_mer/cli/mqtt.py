"""``edge-mer mqtt``: what this host left at the MQTT broker."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import load
from edge_mer.contract.errors import PrivacyError
from edge_mer.gateway.mqtt.discovery import Names
from edge_mer.gateway.mqtt.forget import forget as forget_at_broker
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import public_key

mqtt = command_group("Remove what this host left at the MQTT broker.")


@mqtt.command()
def forget(
    base_topic: Annotated[
        str | None, typer.Option("--base-topic", help="of before, if mqtt.base_topic changed")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Clear every retained topic of this host; Home Assistant then removes the device.

    Entities that this version no longer has are cleared too. Stop edge-mer run first.
    """
    settings = load(config)[0]
    host = public_key(state_directory(settings.privacy.state))
    if host is None:
        raise PrivacyError("this host has no key yet, so it never announced itself")
    section = settings.mqtt
    names = Names(host.public_bytes_raw().hex()[:8], section.discovery, base_topic or section.base_topic)
    for topic in (cleared := forget_at_broker(section, names)):
        typer.echo(topic)
    typer.echo(f"{len(cleared)} retained topics cleared")
