"""``edge-mer baseline``: learn, show or erase a person's neutral voice and face."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.cli.typer_apps import command_group
from edge_mer.client.instance import connected
from edge_mer.config import load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ModelError
from edge_mer.fusion import baseline as own
from edge_mer.fusion import baseline_file as store
from edge_mer.host.files import state_directory
from edge_mer.host.interrupt import interruptible

baseline = command_group(
    "Manage the stored neutral voice and face of a person.\n\nThey are used where fusion.baseline = true."
)

KEPT = (
    "sessions recorded with it hold values derived from it in their journal, so that they replay exactly: "
    "delete those too"
)


@baseline.command()
def learn(
    seconds: Annotated[float, typer.Option("--seconds", min=10, max=600, help="length of the recording")] = 60,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Record your neutral voice and face from the running instance. Masking a modality discards it."""
    resolved, _ = load(config)
    place = state_directory(resolved.privacy.state)
    state: dict[Modality, own.Learning] = {}
    typer.echo(f"{seconds:.0f} s: read something aloud, calmly, with your face in view of the camera", err=True)
    with connected(directory, config) as bus, interruptible() as stop:
        reader = bus.reader(*(f"{kind}/{m}" for m in own.MODALITIES for kind in ("feature", "state")))
        end = bus.clock.now_us() + round(seconds * SECOND)
        while not stop.requested and (left := end - bus.clock.now_us()) > 0:
            bus.wait(min(left, SECOND // 10))
            for message in reader.drain():
                state = own.learn(state, message)
    found, lacking = own.learnt(state, datetime.date.today().isoformat())
    for line in lacking:
        typer.echo(f"not measured: {line}", err=True)
    if not found:
        raise ModelError("no baseline was measured, and nothing was written; unmask audio or video, and speak longer")
    path = store.write(place, {**store.read(place), **found})
    typer.echo(f"{', '.join(found)} written to {path}; to use it set fusion.baseline = true and restart")


@baseline.command()
def show(config: ConfigFile = None) -> None:
    """Show what is stored, from when it is, and whether it is used."""
    resolved, _ = load(config)
    found = store.read(state_directory(resolved.privacy.state))
    for modality, neutral in found.items():
        typer.echo(f"{modality}: {neutral.tokens} tokens on {neutral.date}, encoder {neutral.model}")
    if not found:
        typer.echo("no baseline is stored")
    typer.echo(f"fusion.baseline = {str(resolved.fusion.baseline).lower()}")


@baseline.command()
def erase(config: ConfigFile = None) -> None:
    """Erase the baseline. A running instance keeps using it until restarted."""
    there = store.erase(state_directory(load(config)[0].privacy.state))
    typer.echo(f"erased; {KEPT}" if there else "no baseline was stored")
    if there:
        typer.echo("a running instance keeps using it until restarted", err=True)
