"""``edge-mer status``: what is sensed, who masked what, and the state of every process."""

from __future__ import annotations

from pathlib import Path

import typer

from edge_mer.bus import Bus
from edge_mer.cli.options import At, ConfigFile, Directory
from edge_mer.client import SwitchClient
from edge_mer.client.instance import connected, find_instances, running_config
from edge_mer.client.snapshot import TOPICS, Snapshot
from edge_mer.client.status_text import consent_lines, people_lines, privacy_lines, sensor_lines, worker_lines
from edge_mer.config import sources_off
from edge_mer.contract.clock import SECOND
from edge_mer.host.files import shown_state_directory

LOOK_US = 3 * SECOND // 2


def status(at: At = None, directory: Directory = None, config: ConfigFile = None) -> None:
    """Show sensors, masks, consent and processes of what runs.

    Exit code 1 when a process has failed.
    """
    if at is not None:
        with SwitchClient.paired(at, config) as switch:
            answer = switch.status()
            typer.echo("\n".join([*privacy_lines(answer.modalities), *people_lines(answer.people)]))
        return
    failed = [name for place in find_instances(directory, config) for name in _show(place)]
    if failed:
        typer.echo(f"edge-mer: failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _show(place: Path) -> list[str]:
    """Print one instance; the names of its failed processes."""
    with connected(place) as bus:
        snapshot = _look(bus)
        answer = SwitchClient.on_bus(bus).status()
        now, state = bus.clock.now_us(), shown_state_directory(place)
    workers = snapshot.health.workers if snapshot.health else {}
    lines = [f"running in {place}", "", "privacy", *privacy_lines(answer.modalities, now)]
    lines += [*people_lines(answer.people, now), "", "consent"]
    lines += [*consent_lines(state), "", "sensors"]
    config = running_config(place)
    lines += sensor_lines(snapshot.sensors, sources_off(config) if config is not None else frozenset())
    lines += ["", "processes", *worker_lines(workers)]
    typer.echo("\n".join(lines))
    return [name for name, w in workers.items() if w.state == "failed"]


def _look(bus: Bus) -> Snapshot:
    reader, snapshot = bus.reader(*TOPICS), Snapshot(bus.clock.now_us())
    deadline = snapshot.started_us + LOOK_US
    while (left := deadline - bus.clock.now_us()) > 0:
        bus.wait(left)
        for message in reader.drain():
            snapshot.fold(message)
    return snapshot
