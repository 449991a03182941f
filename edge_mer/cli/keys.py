"""``edge-mer keys``: who may unmask this host, and this machine's own keys for a remote host."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.typer_apps import command_group
from edge_mer.client import SwitchClient
from edge_mer.config import load
from edge_mer.contract.clock import SystemClock, host_boot_id
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import state_directory
from edge_mer.host.interrupt import interruptible
from edge_mer.privacy.consent.consent_file import FILE, Deployment, read_deployment
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import new_identity, read_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey, check_key
from edge_mer.privacy.keys.pairing import link_to, open_pairing, read_link, server_curve

keys = command_group("Manage keys that may unmask: new, pair, allow, revoke, list.")

Name = Annotated[str, typer.Argument(help="name of the keys")]
WAIT_S = 300


def _directory(config: Path | None) -> Path:

    return state_directory(load(config)[0].privacy.state)


@keys.command("list")
def list_(config: ConfigFile = None) -> None:
    """Show the keys that are paired with this host, and what each may do."""
    directory = _directory(config)
    try:
        deployment = read_deployment(directory / FILE)
    except PrivacyError:
        deployment = Deployment("home")
    ring = Keyring(directory)
    for key in ring.paired():
        may = ", ".join(key.may_unmask(deployment)) or "nothing"
        typer.echo(f"{key.name:<16} {key.role:<8} paired {key.paired}  may mask everything, unmask {may}")
    if ring.fault:
        raise PrivacyError(ring.fault)
    if not ring.paired():
        typer.echo("no key is paired; the first edge-mer run pairs this console")


@keys.command()
def new(
    name: Name,
    hub: Annotated[
        bool, typer.Option("--hub", help="also pair them with this host as a hub, which mqtt needs")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Create keys on this machine for a remote host. Only the public keys are printed."""
    directory = _directory(config)
    ring = Keyring(directory)
    if hub:
        _unused(ring, name)
    identity = new_identity(directory, name)
    if hub:
        today = datetime.date.today().isoformat()
        ring.add(PairedKey(name, "hub", identity.signing, identity.content.curve_public, today))
    typer.echo(f"curve   {identity.content.curve_public}\nsigning {identity.signing}")


@keys.command()
def pair(
    name: Name,
    link: Annotated[str | None, typer.Argument(help="on the phone or hub: the link shown by the host")] = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="pair a hub, which may unmask only what hub.may_unmask names")
    ] = False,
    page: Annotated[bool, typer.Option("--page", help="pair a browser: show the code to type on the web page")] = False,
    config: ConfigFile = None,
) -> None:
    """On the host: show a one-time link (or code) and wait. On the phone or hub: use that link."""
    if link is not None:
        _join(name, link, _directory(config))
    else:
        _invite(name, hub, page, config)


def _invite(name: str, hub: bool, page: bool, config: Path | None) -> None:

    settings, directory, clock = load(config)[0], _directory(config), SystemClock()
    host = public_key(directory)
    if settings.remote.listen is None and not page:
        raise PrivacyError(
            "nothing listens for other hosts: set remote.listen to an address of this host, as "
            "tcp://192.168.1.5:7650, and start edge-mer run again"
        )
    if host is None:
        raise PrivacyError("the switch has never run on this host; start edge-mer run first")
    check_key(PairedKey(name, "phone", None, None, ""))
    ring = Keyring(directory)
    _unused(ring, name)
    opened = open_pairing(directory, name, "hub" if hub else "phone", clock, host_boot_id())
    if page:
        typer.echo(f"type this code on the web page within 5 minutes:\n  {opened.code}")
    else:
        link = link_to(directory, settings.remote.listen or "", host.public_bytes_raw().hex(), opened.code)
        typer.echo(f"run this on {name} within 5 minutes:\n  edge-mer keys pair {name} '{link.text()}'")
    with interruptible() as stop:
        while not stop.requested and clock.boottime_us() < opened.until_us:
            if any(k.name == name for k in ring.paired()):
                typer.echo(f"paired: {name}")
                return
            time.sleep(0.5)
    raise PrivacyError(f"{name} did not pair in time, and the code has expired; run the command again")


def _unused(ring: Keyring, name: str) -> None:
    """Raises PrivacyError for the name of a paired key, which a new one would replace, and for a damaged keyring."""

    names = [k.name for k in ring.paired()]
    if ring.fault:
        raise PrivacyError(ring.fault)
    if name in names:
        raise PrivacyError(f"a key is called {name!r} already; revoke it first: edge-mer keys revoke {name}")


def _join(name: str, link: str, directory: Path) -> None:

    found = read_link(link)
    identity = read_identity(directory, name) or new_identity(directory, name)
    answer = SwitchClient.pair(identity, found, name)
    if not answer.ok:
        raise PrivacyError(answer.text)
    identity.joined(found.host, found.curve, found.address)
    typer.echo(f"{answer.text}; now: edge-mer mask all --at {name}, edge-mer unmask audio --at {name}")


@keys.command()
def allow(
    name: Name,
    curve: Annotated[str, typer.Argument(help="its CURVE public key (40 characters of Z85)")],
    config: ConfigFile = None,
) -> None:
    """Let a key view and mask over TCP, never unmask."""
    today = datetime.date.today().isoformat()
    directory = _directory(config)
    ring = Keyring(directory)
    _unused(ring, name)
    ring.add(PairedKey(name, "reader", None, curve, today))
    typer.echo(f"{name} may view and mask over TCP; it cannot unmask\nserver  {server_curve(directory)[0].decode()}")


@keys.command()
def revoke(name: Name, config: ConfigFile = None) -> None:
    """Revoke a key at once; what it unmasked is masked."""
    gone = Keyring(_directory(config)).revoke(name)
    typer.echo(f"revoked: {gone.name} ({gone.role}); what it unmasked is masked within a second")
