"""``edge-mer analyse FILE...``: what is expressed when in clips and photographs."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_mer.cli.options import Json, Setting, overrides
from edge_mer.cli.startup import check_new_file, check_start
from edge_mer.client.show import Screen, Show, Silent
from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.errors import EdgeMerError, InputError
from edge_mer.demo.analysis import analyse as analyse_file
from edge_mer.demo.analysis import busy
from edge_mer.demo.timeline import Timeline
from edge_mer.host.interrupt import INTERRUPTED, interruptible

Csv = Annotated[Path | None, typer.Option("--csv", help="write a row for each window into this file")]
Plot = Annotated[Path | None, typer.Option("--plot", help="draw probabilities and labels over time (PNG)")]


def analyse(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="audio, video and picture files")],
    csv: Csv = None,
    plot: Plot = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Print what is expressed when in clips and photographs.

    Each file plays once at its own speed through the whole pipeline, in an instance of its own that leaves nothing
    behind. Clips shorter than 8 s repeat. A photograph gives one estimate of one face. With --json there is one line
    for each window. Exit code 1 when a file cannot be read, or nothing in it was heard or seen.
    """
    more = overrides(setting)
    for out in (csv, plot):
        check_new_file(out)
    found: list[Timeline] = []
    failed = False
    with interruptible() as stop:
        for path in files:
            try:
                timeline, snapshot = analyse_file(path, more, partial(_show, path.name, json), stop, check_start)
            except EdgeMerError as error:
                if len(files) == 1:
                    raise
                typer.echo(f"edge-mer: {error}", err=True)
                failed = True
                continue
            found.append(timeline)
            failed |= not is_useful(timeline)
            report(timeline, json)
            warn_if_busy(snapshot)
            if stop.requested:
                break
    save(found, csv, plot)
    if stop.requested:
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(1)


def _show(name: str, json: bool) -> Show:
    return Screen(f"analysis of {name}") if sys.stdout.isatty() and not json else Silent()


def is_useful(timeline: Timeline) -> bool:
    return any(window.body.combination != "none" for window in timeline.windows())


def report(timeline: Timeline, json: bool = False, err: bool = False) -> None:
    """The table and the summary, or a line of JSON for each window. ``err``: on standard error."""
    if json:
        for row in timeline.rows():
            typer.echo(msgspec.json.encode(row).decode())
        return
    for line in (timeline.name, *timeline.table(shutil.get_terminal_size().columns), timeline.summary(), ""):
        typer.echo(line, err=err)


def warn_if_busy(snapshot: Snapshot) -> None:
    if (why := busy(snapshot)) is not None:
        typer.echo(f"edge-mer: {why}", err=True)


def save(timelines: list[Timeline], csv: Path | None, plot: Path | None) -> None:
    """Raises InputError where a file cannot be written, or there is nothing to write."""
    if not timelines or (csv is None and plot is None):
        return
    try:
        if csv is not None:
            from edge_mer.session.export import to_csv

            typer.echo(f"{csv}: {to_csv((row for t in timelines for row in t.rows()), csv)} windows", err=True)
        if plot is not None:
            from edge_mer.demo.plot import save_plot

            save_plot(timelines, plot)
            typer.echo(f"{plot}: a panel for each file", err=True)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
