"""``edge-mer uninstall``: the systemd unit, and with ``--purge`` everything else that edge_mer wrote for this user."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from edge_mer.cli.service import remove_unit, unit_path
from edge_mer.client.instance import NotRunning, find_instance
from edge_mer.config import Config, default_path, load
from edge_mer.contract.errors import ConfigError, EndpointInUse
from edge_mer.contract.places import user_directory
from edge_mer.host.files import state_path


class Place(NamedTuple):
    """A file or folder, and what is in it. ``own``: edge_mer's default place, which holds nothing else."""

    what: str
    path: Path
    own: bool = True


def places(config: Config) -> Iterator[Place]:
    """Where edge_mer keeps files for this user, as far as they exist. Recordings and exports are not among them."""
    named = (
        Place("consent, keys, receipts, history, logs", state_path(), True),
        Place("downloaded models, compiled engines", user_directory("XDG_CACHE_HOME", ".cache", "HOME") / "edge_mer"),
        Place("configuration", default_path()),
        *(
            Place(f"{setting}, which you chose", Path(chosen).absolute(), False)
            for setting, chosen in (
                ("privacy.state", config.privacy.state),
                ("record.keys", config.record.keys),
                ("models.engines", config.models.engines),
            )
            if chosen is not None
        ),
    )
    yield from (place for place in named if place.path.exists() or place.path.is_symlink())


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="also remove consent, keys, receipts, history, logs, caches, configuration")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove what edge_mer made on this host, after asking.

    Without --purge: the systemd unit only. Sealed recordings cannot be read any more once their keys are gone.
    """
    try:
        config = load()[0]
    except ConfigError as error:
        typer.echo(f"edge-mer: {error}", err=True)
        config = Config()
    found = list(places(config))
    own, chosen = [p for p in found if p.own], [p for p in found if not p.own]
    for title, rows in (("to be removed" if purge else "kept (--purge removes it)", own), ("kept", chosen)):
        typer.echo("\n".join(f"{title}: {row.path} ({row.what})" for row in rows), nl=bool(rows))
    if unit_path().exists():
        typer.echo(f"to be removed: {unit_path()} (systemd unit)")
    if purge and own:
        typer.echo("without the keys, sealed recordings cannot be read any more, and receipts cannot be verified")
    if (unit_path().exists() or (purge and own)) and not (yes or typer.confirm("Remove it?")):
        raise typer.Exit(1)
    remove_unit()
    if purge:
        _check_stopped()
        for place in own:
            _remove(place.path)
    typer.echo(f"to remove the program: {_program_removal()}")


def _check_stopped() -> None:
    try:
        directory = find_instance(None)
    except (NotRunning, ConfigError):
        return
    raise EndpointInUse(f"edge_mer runs in {directory}; stop it first; nothing but the unit was removed")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    typer.echo(f"removed {path}")


def _program_removal() -> str:
    if "pipx" in Path(sys.prefix).parts:
        return "pipx uninstall edge-mer"
    return f"{sys.executable} -m pip uninstall edge-mer"
