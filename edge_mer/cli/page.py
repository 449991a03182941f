"""``edge-mer page``: the link to the web page, with the viewing token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.client.instance import NotRunning, find_instance, running_config
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError
from edge_mer.gateway.page.http_auth import METRICS, Token, link_of, parse_address
from edge_mer.host.files import state_directory


def page(
    new_token: Annotated[
        bool, typer.Option("--new-token", help="create a new viewing token; the old link stops working")
    ] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="show the address and token of the metrics for Prometheus instead")
    ] = False,
    config: ConfigFile = None,
    setting: Setting = None,
) -> None:
    """Show the link to the web page.

    It is that of the configuration, else that of the running instance. Whoever has it may view and mask. To unmask,
    pair the browser on the page.
    """
    settings = load(config, overrides(setting))[0]
    if settings.page.address is None:
        settings = _of_running(config) or settings
    if settings.page.address is None:
        raise ConfigError(
            "the web page is off: set page.address, for example edge-mer run --set page.address=http://127.0.0.1:7653"
        )
    token = Token(state_directory(settings.privacy.state))
    if new_token:
        token.renew()
    if metrics:
        typer.echo(f"{parse_address(settings.page).url.rstrip('/')}{METRICS}\n{token.for_metrics()}")
    else:
        typer.echo(link_of(settings.page, token))


def _of_running(config: Path | None) -> Config | None:
    try:
        return running_config(find_instance(None, config))
    except NotRunning:
        return None
