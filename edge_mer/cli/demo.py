"""``edge-mer demo``: the whole application on a bundled session, or on your own clip, without any setup."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.analyse import Csv, Plot, is_useful, report, save
from edge_mer.cli.options import Json, Setting, overrides
from edge_mer.cli.startup import check_new_file, check_recording, check_start
from edge_mer.client import PendingCommands
from edge_mer.client.instance import temporary_place
from edge_mer.client.show import choose, save_svg
from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.errors import SessionError
from edge_mer.demo.analysis import analyse
from edge_mer.demo.config import demo_config
from edge_mer.demo.play import ScriptEnd, play, running
from edge_mer.demo.script import STAY_US, Director
from edge_mer.gateway.page.http_auth import page_link
from edge_mer.host.interrupt import INTERRUPTED, interruptible
from edge_mer.host.worker import Stop
from edge_mer.session.reader import is_cut


def demo(
    media: Annotated[Path | None, typer.Option("--media", help="an audio, video or picture file of your own")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="record the session into this file (MCAP)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="save the live view as SVG at the end")] = None,
    csv: Csv = None,
    plot: Plot = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Play a session through the whole pipeline, with masks and crashes.

    Needs no microphone, camera, GPU, network or download. Exit code 0 when all seven combinations and none were seen.
    With --media it plays your own file instead, and prints what is expressed when; edge-mer analyse takes many files.
    """
    if media is None and (csv is not None or plot is not None):
        raise typer.BadParameter("--csv and --plot need --media")
    for out in (picture, csv, plot):
        check_new_file(out, may_replace=out is picture)
    if record is not None:
        check_recording(record)
    more = overrides(setting)
    with interruptible() as stop:
        if media is None:
            missing, snapshot = _scripted(more, record, json, stop)
        else:
            missing, snapshot = _media(media, more, record, json, stop, (csv, plot))
    if picture is not None:
        save_svg(picture, snapshot, snapshot.latest_us, f"demo of {media.name if media else 'the bundled session'}")
    if record is not None:
        if snapshot.recording_stopped is not None or not record.exists() or is_cut(record):
            raise SessionError(
                f"{record} was not recorded to its end: {snapshot.recording_stopped or 'no reason given'}"
            )
        typer.echo(f"recorded into {record}; prove it with: edge-mer replay {record} --verify", err=json)
    if stop.requested:
        raise typer.Exit(INTERRUPTED)
    if missing:
        raise typer.Exit(1)


Outcome = tuple[bool, Snapshot]


def _scripted(more: dict[str, dict[str, object]], record: Path | None, json: bool, stop: Stop) -> Outcome:
    """The bundled session with its script. Returns whether something was not seen, and the last state."""
    with temporary_place() as folder:
        place = Path(folder)
        settings = demo_config(place, None, record, more)
        check_start(settings)
        if (link := page_link(settings, sys.stderr.isatty())) is not None:
            typer.echo(f"the page: {link}", err=True)
        with running(place, settings, choose("demo of the bundled session", json)) as run:
            snapshot, switch = run.watcher.snapshot, PendingCommands.local(run.bus, "the demo")
            director = Director(run.bus.clock, snapshot, switch, stay_us=0 if json else STAY_US)
            play(run, stop, ScriptEnd(run, director))
    for line in director.summary():
        typer.echo(line, err=json)
    return bool(director.missing), snapshot


def _media(
    media: Path,
    more: dict[str, dict[str, object]],
    record: Path | None,
    json: bool,
    stop: Stop,
    outs: tuple[Path | None, Path | None],
) -> Outcome:
    timeline, snapshot = analyse(media, more, lambda: choose(f"demo of {media.name}", json), stop, check_start, record)
    report(timeline, err=json)
    save([timeline], *outs)
    return not is_useful(timeline), snapshot
