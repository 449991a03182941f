"""``edge-mer status``: what is sensed, who masked what, and the state of every process."""

from __future__ import annotations

import typer

from edge_mer.bus import Bus
from edge_mer.cli.options import At, ConfigFile, Directory
from edge_mer.client.instance import connected
from edge_mer.client.local_switch import LocalSwitch
from edge_mer.client.snapshot import TOPICS, Snapshot
from edge_mer.client.status_text import consent_lines, privacy_lines, sensor_lines, worker_lines
from edge_mer.client.switch_commands import ask_elsewhere, paired
from edge_mer.contract.clock import SECOND
from edge_mer.host.files import shown_state_directory

LOOK_US = 3 * SECOND // 2


def status(at: At = None, directory: Directory = None, config: ConfigFile = None) -> None:
    """Show sensors, masks, consent and processes of what runs.

    Exit code 1 when a process has failed.
    """
    if at is not None:
        typer.echo("\n".join(privacy_lines(ask_elsewhere(paired(at, config), "status", ()).modalities)))
        return

    def look(bus: Bus) -> Snapshot:
        reader, picture = bus.reader(*TOPICS), Snapshot(bus.clock.now_us())
        deadline = picture.started_us + LOOK_US
        while (left := deadline - bus.clock.now_us()) > 0:
            bus.wait(left)
            for message in reader.drain():
                picture.fold(message)
        return picture

    with connected(directory, config) as bus:
        picture = look(bus)
        answer = LocalSwitch(bus).ask("status")
        now, place, state = bus.clock.now_us(), bus.directory, shown_state_directory(bus.directory)
    workers = picture.health.workers if picture.health else {}
    lines = [f"running in {place}", "", "privacy", *privacy_lines(answer.modalities, now), "", "consent"]
    lines += [*consent_lines(state), "", "sensors"]
    lines += sensor_lines(picture.sensors)
    lines += ["", "processes", *worker_lines(workers)]
    typer.echo("\n".join(lines))
    if failed := [name for name, w in workers.items() if w.state == "failed"]:
        typer.echo(f"edge-mer: failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
