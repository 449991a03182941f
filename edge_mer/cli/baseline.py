"""``edge-mer baseline``: learn, show or erase what this person's voice and face are like when neutral."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.client.instance import connected
from edge_mer.config import load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ModelError
from edge_mer.fusion import baseline as own
from edge_mer.fusion import baseline_file as store
from edge_mer.host.files import state_directory
from edge_mer.host.interrupt import interruptible

baseline = typer.Typer(
    help="A person's own neutral voice and face; used where fusion.baseline = true.", no_args_is_help=True
)

KEPT = (
    "sessions recorded with it hold what fusion made of it in their journal, so that they replay exactly: "
    "delete those too"
)


@baseline.command()
def learn(
    seconds: Annotated[float, typer.Option("--seconds", min=10, max=600, help="how long to look and listen")] = 60,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Learn from what runs, while you speak of nothing in particular. A mask meanwhile forgets what it masks."""
    import datetime

    resolved, _ = load(config)
    place = state_directory(resolved.privacy.state)
    state: dict[Modality, own.Learning] = {}
    typer.echo(f"{seconds:.0f} s: read something aloud, calmly, with your face in the picture", err=True)
    with connected(directory, config) as bus, interruptible() as stop:
        reader = bus.reader(*(f"{kind}/{m}" for m in own.MODALITIES for kind in ("feature", "state")))
        end = bus.clock.now_us() + round(seconds * SECOND)
        while not stop.asked and (left := end - bus.clock.now_us()) > 0:
            bus.wait(min(left, SECOND // 10))
            for message in reader.drain():
                state = own.learn(state, message)
    found, lacking = own.learnt(state, datetime.date.today().isoformat())
    for line in lacking:
        typer.echo(f"not learnt: {line}", err=True)
    if not found:
        raise ModelError("nothing was learnt, and nothing is written")
    path = store.write(place, {**store.read(place), **found})
    typer.echo(f"{', '.join(found)} written to {path}; set fusion.baseline = true and start again to use it")


@baseline.command()
def show(config: ConfigFile = None) -> None:
    """What was learnt, when, and whether it is used."""

    resolved, _ = load(config)
    found = store.read(state_directory(resolved.privacy.state))
    for modality, neutral in found.items():
        typer.echo(f"{modality}: {neutral.tokens} tokens on {neutral.date}, encoder {neutral.model}")
    if not found:
        typer.echo("nothing was learnt")
    typer.echo(f"fusion.baseline = {str(resolved.fusion.baseline).lower()}")


@baseline.command()
def erase(config: ConfigFile = None) -> None:
    """Erase it. What runs goes on with it until the next start."""

    there = store.erase(state_directory(load(config)[0].privacy.state))
    typer.echo(f"erased; {KEPT}" if there else "there was none")
    if there:
        typer.echo("what runs now goes on with it until the next start", err=True)
