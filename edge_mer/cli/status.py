"""``edge-mer status``: what is sensed, who masked what, and how every process is."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.clock import SECOND
from edge_mer.domain import MODALITIES, Modality
from edge_mer.messages import PrivacyState, SensorState, WorkerHealth

LOOK_US = 3 * SECOND // 2


def status(directory: Directory = None, config: ConfigFile = None) -> None:
    """Show sensors, masks and processes of the running instance. Exit code 1 when one of them has failed."""
    from edge_mer.bus import Bus
    from edge_mer.cli.instance import ask, connected
    from edge_mer.cli.picture import TOPICS, Picture

    def look(bus: Bus) -> Picture:
        reader, picture = bus.reader(*TOPICS), Picture(bus.clock.now_us())
        deadline = picture.started_us + LOOK_US
        while (left := deadline - bus.clock.now_us()) > 0:
            bus.wait(left)
            for message in reader.drain():
                picture.fold(message)
        return picture

    with connected(directory, config) as bus:
        picture = look(bus)
        answer = ask(bus, "status")
        now, place = bus.clock.now_us(), bus.directory
    workers = picture.health.workers if picture.health else {}
    lines = [f"running in {place}", "", "privacy", *privacy_lines(answer.modalities, now), "", "sensors"]
    lines += sensor_lines(picture.sensors)
    lines += ["", "processes", *worker_lines(workers)]
    typer.echo("\n".join(lines))
    if failed := [name for name, w in workers.items() if w.state == "failed"]:
        typer.echo(f"edge-mer: failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def privacy_lines(states: Mapping[Modality, PrivacyState], now_us: int) -> list[str]:
    """``audio  masked  for 12 s, masked by the hub``; says so when what was asked does not hold yet."""
    lines = []
    for m in MODALITIES:
        if (state := states.get(m)) is None:
            continue
        gap = "" if state.effective == state.requested else f", still {state.effective}: not confirmed closed"
        reason = f", {state.reason}" if state.reason else ""
        lines.append(f"  {m:<6} {state.requested:<7} for {(now_us - state.since_us) / 1e6:.0f} s{reason}{gap}")
    return lines


def sensor_lines(sensors: Mapping[Modality, SensorState]) -> list[str]:
    lines = []
    for m in MODALITIES:
        if (sensor := sensors.get(m)) is None:
            lines.append(f"  {m:<6} no sensor: its process is off or not running")
            continue
        reason = f": {sensor.reason}" if sensor.reason else ""
        lines.append(
            f"  {m:<6} gate {sensor.gate}, {sensor.health}{reason}  ({sensor.device}, {sensor.rate_hz:.1f}/s, "
            f"{sensor.dropped} dropped)"
        )
    return lines


def worker_lines(workers: Mapping[str, WorkerHealth]) -> list[str]:
    if not workers:
        return ["  no health report yet"]
    return [
        f"  {name:<17} {w.state:<10} pid {w.pid or '-':<7} {w.restarts} restarts  {w.cpu:5.2f} cores "
        f"{w.rss / 1e6:5.0f} MB{f'  {w.reason}' if w.reason else ''}{_counters(w)}"
        + "".join(f"\n  {'':<17} {note}" for note in w.notes)
        for name, w in workers.items()
    ]


def _counters(worker: WorkerHealth) -> str:
    return "".join(f"  {name} {count}" for name, count in worker.counters.items() if count)
