"""``edge-mer calibrate``: measure microphone, camera and the offset between them, and write it to the config."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.capture.room.levels import CalibrationFailed
from edge_mer.capture.room.measurement import RoomMeasurement, measure_bus, measure_file
from edge_mer.capture.room.quality import advice
from edge_mer.capture.room.sensors_section import section_toml, updated, write_section
from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.client.instance import connected
from edge_mer.config import default_path, load
from edge_mer.host.interrupt import interruptible
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.select import models_directory, open_backend

STEPS = "be quiet for a moment, speak as usual, then clap three times, a second apart, with both hands in the picture"


def calibrate(
    seconds: Annotated[float, typer.Option("--seconds", min=3, max=120, help="length of the measurement")] = 20,
    media: Annotated[Path | None, typer.Option("--media", help="measure this file, not the running instance")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the result and write nothing")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Measure the microphone, the camera and the offset between them.

    Listens to the running instance (no device is opened for this), or reads a file. What is masked, or could not be
    measured, keeps its old value. Writes the section [sensors] of the config, with the date; the next start uses it.
    """
    resolved, _ = load(config)
    yunet = resolved.perception.yunet
    models, backend = models_directory(resolved.models.directory), open_backend(resolved.models)
    measurement = RoomMeasurement(detector(backend, models, Path(yunet) if yunet else None))
    if media is not None:
        measure_file(measurement, media)
    else:
        with connected(directory, config) as bus, interruptible() as stop:
            typer.echo(f"{seconds:.0f} s: {STEPS}", err=True)
            measure_bus(measurement, bus, seconds, lambda: stop.requested)
    found, lacking = measurement.result()
    for line in lacking:
        typer.echo(f"not measured: {line}", err=True)
    today = datetime.date.today()
    section = updated(resolved.sensors, found, today.isoformat())
    if section is None:
        raise CalibrationFailed(
            "nothing could be measured, and nothing was written; check that a sensor is unmasked: edge-mer status"
        )
    typer.echo(section_toml(section), nl=False)
    for line in advice(section, today):
        typer.echo(f"advice: {line}", err=True)
    if not dry_run:
        path = config or default_path()
        write_section(path, section)
        typer.echo(f"written to {path}; the next edge-mer run uses it", err=True)
