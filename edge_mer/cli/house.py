"""``edge-mer house``: all rooms of a house: what they sense, one mask for all, and how a room is paired."""

from __future__ import annotations

import datetime
import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.bus import ZmqBus
from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.cli.typer_apps import command_group
from edge_mer.client import SwitchClient
from edge_mer.client.instance import connected, running_config
from edge_mer.client.status_text import clock_text
from edge_mer.client.transports import BusTransport
from edge_mer.config import Config, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.errors import UNPROVEN, ConfigError, PrivacyError
from edge_mer.contract.house import House, HouseMask, RoomState
from edge_mer.contract.room_address import RoomAddress
from edge_mer.contract.visible_fields import visible_fields
from edge_mer.gateway.house.node import NAME, house_identity
from edge_mer.gateway.house.page_server import house_link
from edge_mer.gateway.house.proof import FILE, joint_receipts
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import PUBLIC, public_key, read_public
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve

house = command_group("Show, mask and pair all rooms of a house as one.")

SCHEME = "edge-mer-house:"
LOOK_US = 3 * SECOND // 2
PATIENCE_US = 4 * SECOND
SILENCE = (
    "the process house does not answer, so NOTHING is known to be masked; does edge-mer run here with house.rooms?"
)


@house.command()
def status(
    link: Annotated[bool, typer.Option("--link", help="also the link of the page, with its token")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Show every room, and the mask of the house.

    Exit code 1 when a room cannot be reached, 6 while a mask of the house is not proven.
    """
    with connected(directory, config) as bus:
        found = _look(bus)
        running = running_config(bus.directory)
    if found is None:
        raise PrivacyError(SILENCE)
    typer.echo("\n".join([*(_room_line(n, r) for n, r in found.rooms.items()), *_mask_lines(found.mask)]))
    if link:
        page = house_link(running) if running is not None else None
        typer.echo(f"  page      {page or 'off: set house.page'}")
    if found.mask is not None and found.mask.state == "pending":
        raise typer.Exit(UNPROVEN)
    if not all(r.reachable for r in found.rooms.values()):
        raise typer.Exit(1)


@house.command()
def mask(
    hours: Annotated[float, typer.Option("--hours", min=0, max=720, help="ends after N hours (0 = never)")] = 0,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Mask every room. It succeeds only when each room has proven it.

    Exit code 6 names the rooms that have not; they are asked again until they have, or until house withdraw.
    """
    answer = _ask("mask", round(hours * 3600), directory, config)
    if not answer.ok:
        typer.echo(
            f"edge-mer: NOT the whole house is masked: {answer.text}\nedge-mer: these rooms are asked again until they "
            "have; to give up: edge-mer house withdraw",
            err=True,
        )
        raise typer.Exit(UNPROVEN)
    typer.echo(f"every room is masked; joint receipt {answer.receipts[0]}: edge-mer house receipts")
    if answer.text:
        typer.echo(f"edge-mer: {answer.text}", err=True)


@house.command()
def withdraw(directory: Directory = None, config: ConfigFile = None) -> None:
    """Stop asking rooms that have not proven a mask. What is masked stays masked."""
    answer = _ask("withdraw", 0, directory, config)
    if not answer.ok:
        raise PrivacyError(answer.text)
    typer.echo("withdrawn; what is masked stays masked, and is unmasked in each room")


@house.command()
def pair(
    link: Annotated[str | None, typer.Argument(help="in a room: the link that the house shows")] = None,
    name: Annotated[str, typer.Option("--name", help="in a room: name of the house's key here")] = NAME,
    config: ConfigFile = None,
) -> None:
    """On the house's host: show the link for all rooms. In a room: admit that house, which may view and mask."""
    settings = load(config)[0]
    if link is None:
        public = house_identity(settings).content.curve_public
        typer.echo(
            "run this in every room; each shows its value for house.rooms here:\n"
            f"  edge-mer house pair '{SCHEME}{public}'"
        )
    else:
        _admit(link, name, settings)


@house.command()
def receipts(config: ConfigFile = None) -> None:
    """Verify the joint receipts of this house and show them: the house's own signature and every room's."""
    state = state_directory(load(config)[0].privacy.state)
    if not (state / FILE).exists():
        typer.echo("no joint receipt yet")
        return
    for joint in joint_receipts(state / FILE, read_public(state / PUBLIC)):
        rooms = ", ".join(joint.rooms) or "none"
        missing = "".join(f"; NOT {n}: {why}" for n, why in joint.missing.items())
        at = datetime.datetime.fromtimestamp(joint.asked_us / SECOND)
        typer.echo(f"{joint.number:4}  {at:%Y-%m-%d %H:%M:%S}  by {joint.requester}: {rooms}{missing}")


@house.command()
def verify(
    file: Annotated[Path, typer.Argument(help="session of the house")],
    rooms: Annotated[list[str], typer.Argument(metavar="ROOM=FILE", help="session of each room that took part")],
    config: ConfigFile = None,
) -> None:
    """Fold the journal of a house again, from the sessions of its rooms, and compare every result."""
    from edge_mer.session.house_replay import verify_house
    from edge_mer.session.keys import key_store

    found = {}
    for text in rooms:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"a room is ROOM=FILE, as kitchen=kitchen.mcap; got {text!r}")
        found[name] = Path(path)
    report = verify_house(file, found, key_store(load(config)[0]))
    typer.echo(f"identical: {report.entries} entries, {len(report.voices)} voices")


def _admit(link: str, name: str, settings: Config) -> None:
    curve = link.removeprefix(SCHEME)
    if not link.startswith(SCHEME):
        raise PrivacyError("this is no link of a house; edge-mer house pair on its host shows one")
    hub, directory = settings.hub, state_directory(settings.privacy.state)
    if hub.publish is None or hub.requests is None or hub.plaintext:
        raise ConfigError(
            "a house reads hub.publish and sends to hub.requests, with keys: set both, as tcp://192.168.1.5:7651 and "
            "tcp://192.168.1.5:7652, without hub.plaintext"
        )
    host = public_key(directory)
    if host is None:
        raise PrivacyError("the switch has never run on this host; start edge-mer run first")
    ring = Keyring(directory)
    known = ring.sender(curve)
    if known is None:
        if any(k.name == name for k in ring.paired()):
            raise PrivacyError(f"another key is called {name!r}; give this house another name: --name second-house")
        ring.add(PairedKey(name, "reader", None, curve, datetime.date.today().isoformat()))
    address = RoomAddress(hub.publish, hub.requests, host.public_bytes_raw().hex(), server_curve(directory)[0].decode())
    typer.echo(
        "the house may view and mask this room, and unmask nothing; in the configuration of the house:\n"
        f"  [house.rooms]\n  {json.dumps(settings.run.room_name)} = {json.dumps(address.text())}"
    )


def _ask(action: str, for_s: int, directory: Path | None, config: Path | None) -> Answer:
    with connected(directory, config) as bus:
        client = SwitchClient(BusTransport(bus, NAME), bus.clock, "the command line", SILENCE, PATIENCE_US)
        return client.ask(Command(id=secrets.token_hex(8), action=action, requester="the command line", for_s=for_s))


def _look(bus: ZmqBus) -> House | None:
    reader, found = bus.reader("house"), list[House]()
    deadline = bus.clock.now_us() + LOOK_US
    while not found and (left := deadline - bus.clock.now_us()) > 0:
        bus.wait(left)
        found = [visible_fields(m.body) for m in reader.drain()]
    return found[-1] if found else None


def _room_line(name: str, room: RoomState) -> str:
    if not room.reachable:
        return f"  {name:<12} UNKNOWN: {room.reason}"
    gates = ", ".join(f"{m} {gate}" for m, gate in room.gates.items())
    sensed = f"; sensed: {', '.join(room.sensed)}" if room.sensed else ""
    until = f"; until {clock_text(room.until_us)}" if room.until_us is not None else ""
    return f"  {name:<12} {gates}{until}{sensed}"


def _mask_lines(found: HouseMask | None) -> list[str]:
    if found is None:
        return ["  mask      none yet"]
    until = f", until {clock_text(found.until_us)}" if found.until_us is not None else ""
    receipt = f", joint receipt {found.receipt}" if found.receipt is not None else ""
    lines = [f"  mask      {found.state}, by {found.requester} at {clock_text(found.asked_us)}{until}{receipt}"]
    return lines + [f"            NOT {name}: {why}" for name, why in found.missing.items()]
