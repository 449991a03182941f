"""``mask`` and ``unmask`` ask the switch here or elsewhere, and say what really happened."""

from __future__ import annotations

import secrets
from pathlib import Path

import typer

from edge_mer.client.instance import connected
from edge_mer.client.local_switch import LocalSwitch
from edge_mer.client.remote_switch import RemoteSwitch
from edge_mer.client.status_text import privacy_lines
from edge_mer.config import load
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.identity import Identity, read_identity


def ask(
    action: str,
    modalities: tuple[Modality, ...],
    at: str | None,
    directory: Path | None,
    config: Path | None,
    hard: bool = False,
    for_s: int = 0,
) -> Answer:
    """``at`` None is the instance on this host."""
    if at is not None:
        return ask_elsewhere(paired(at, config), action, modalities, hard, for_s)
    with connected(directory, config) as bus:
        return LocalSwitch(bus).ask(action, modalities, hard, for_s=for_s)


def paired(name: str, config: Path | None) -> Identity:
    """Keys of this machine that are paired with a host elsewhere. Raises PrivacyError when there are none."""
    identity = read_identity(state_directory(load(config)[0].privacy.state), name)
    if identity is None or not identity.content.address:
        raise PrivacyError(
            f"no keys called {name!r} are paired with a switch elsewhere: edge-mer keys pair {name} LINK"
        )
    return identity


def ask_elsewhere(
    identity: Identity, action: str, modalities: tuple[Modality, ...], hard: bool = False, for_s: int = 0
) -> Answer:
    clock, content = SystemClock(), identity.content
    client = RemoteSwitch(identity, content.address, content.host_curve)
    try:
        grant = None
        if action == "unmask":
            seen = client.command(Command(id=secrets.token_hex(8), action="status"), clock).modalities
            epoch = max((s.mask_epoch for s in seen.values()), default=0)
            grant = identity.grant(content.host, modalities, epoch, clock.wall_us())
        command = Command(
            id=secrets.token_hex(8),
            action=action,
            modalities=modalities,
            requester=identity.name,
            grant=grant,
            hard=hard,
            for_s=for_s,
        )
        return client.command(command, clock)
    finally:
        client.close()


def tell(answer: Answer, failure: str) -> None:
    """States, receipts, and loudly what did not take effect (exit code 1)."""
    for line in privacy_lines(answer.modalities):
        typer.echo(line)
    if answer.receipts:
        typer.echo(f"receipts {', '.join(map(str, answer.receipts))}: edge-mer receipts show")
    if not answer.ok:
        typer.echo(f"edge-mer: {failure}{answer.text}", err=True)
        raise typer.Exit(1)
