"""``edge-mer demo``: the whole application on bundled scenes, or on your own clip, without any setup."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.analyse import Csv, Plot, is_useful, report, save, warn_if_busy
from edge_mer.cli.options import Json, Setting, overrides
from edge_mer.cli.program import program
from edge_mer.cli.startup import check_new_file, check_recording, check_start
from edge_mer.client import PendingCommands
from edge_mer.client.instance import temporary_place
from edge_mer.client.show import Draw, Show, choose, save_svg
from edge_mer.client.snapshot import Snapshot
from edge_mer.client.view import render
from edge_mer.contract.errors import SessionError
from edge_mer.demo import scenes, stage_view
from edge_mer.demo.analysis import analyse
from edge_mer.demo.chaos import SCRIPT, missing
from edge_mer.demo.chaos import summary as chaos_summary
from edge_mer.demo.config import SESSION, WORDS, demo_config
from edge_mer.demo.director import STAY_US, Director
from edge_mer.demo.pictures import Pictures
from edge_mer.demo.play import Running, ScriptEnd, ShowEnd, play, running
from edge_mer.demo.showcase import FINALE, Showcase
from edge_mer.demo.summary import summary
from edge_mer.gateway.page.http_auth import page_link
from edge_mer.host.interrupt import INTERRUPTED, interruptible
from edge_mer.host.worker import Stop


def demo(
    media: Annotated[Path | None, typer.Option("--media", help="an audio, video or picture file of your own")] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="mask and kill until all combinations of modalities were seen")
    ] = False,
    record: Annotated[Path | None, typer.Option("--record", help="record the session into this file (MCAP)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="save the live view as SVG at the end")] = None,
    csv: Csv = None,
    plot: Plot = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Play four scenes through the pipeline, then a mask and a crash.

    Needs no microphone, camera, GPU, network or download. Exit code 0 when every scene was seen, the mask was proven
    and the killed process came back; with --chaos, when all seven combinations and none were seen. With --media it
    plays your own file instead, and prints what is expressed when; edge-mer analyse takes many files.
    """
    if media is None and (csv is not None or plot is not None):
        raise typer.BadParameter("--csv and --plot need --media")
    if media is not None and chaos:
        raise typer.BadParameter("--chaos plays the bundled session: leave out --media")
    for out in (picture, csv, plot):
        check_new_file(out, may_replace=out is picture)
    if record is not None:
        check_recording(record)
    more = overrides(setting)
    with interruptible() as stop:
        if media is not None:
            outcome = _media(media, more, record, json, stop, (csv, plot))
        else:
            outcome = (_chaos if chaos else _showcase)(more, record, json, stop)
    missed, snapshot, draw = outcome
    if picture is not None:
        save_svg(picture, snapshot, snapshot.latest_us, f"demo of {media.name}" if media else "demo", draw)
    if record is not None:
        from edge_mer.session.reader import is_cut

        if snapshot.recording_stopped is not None or not record.exists() or is_cut(record):
            raise SessionError(
                f"{record} was not recorded to its end: {snapshot.recording_stopped or 'no reason given'}"
            )
        typer.echo(f"recorded into {record}; prove it with: {program()} replay {record} --verify", err=json)
    if stop.requested:
        raise typer.Exit(INTERRUPTED)
    if missed:
        raise typer.Exit(1)


# Whether something did not happen that was to be shown, the last state, and what draws it.
Outcome = tuple[bool, Snapshot, Draw]


def _showcase(more: dict[str, dict[str, object]], record: Path | None, json: bool, stop: Stop) -> Outcome:
    """The scenes, then a mask and a crash."""
    show = Showcase(scenes.bundled())
    draw = partial(stage_view.render, show, Pictures(scenes.MEDIA))
    with _started(more, record, choose("demo", json, draw), (scenes.MEDIA, scenes.WORDS)) as run:
        snapshot = run.watcher.snapshot
        show.director = Director(run.bus.clock, snapshot, PendingCommands.local(run.bus, "the demo"), FINALE)
        play(run, stop, ShowEnd(run, show))
    _print(summary(show, program()), json)
    return not show.done or bool(show.failed), snapshot, draw


def _chaos(more: dict[str, dict[str, object]], record: Path | None, json: bool, stop: Stop) -> Outcome:
    """The drawn session with masks and crashes."""
    with _started(more, record, choose("demo --chaos", json), (SESSION, WORDS)) as run:
        snapshot, switch = run.watcher.snapshot, PendingCommands.local(run.bus, "the demo")
        director = Director(run.bus.clock, snapshot, switch, SCRIPT, stay_us=0 if json else STAY_US)
        play(run, stop, ScriptEnd(run, director))
    _print(chaos_summary(director), json)
    return bool(missing(director)), snapshot, render


@contextmanager
def _started(
    more: dict[str, dict[str, object]], record: Path | None, show: Show, bundled: tuple[Path, Path]
) -> Iterator[Running]:
    with temporary_place() as folder:
        settings = demo_config(Path(folder), None, record, more, bundled)
        check_start(settings)
        if (link := page_link(settings, sys.stderr.isatty())) is not None:
            typer.echo(f"the page: {link}", err=True)
        with running(Path(folder), settings, show) as run:
            yield run


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
    warn_if_busy(snapshot)
    save([timeline], *outs)
    return not is_useful(timeline), snapshot, render


def _print(lines: Sequence[str], err: bool) -> None:
    for line in lines:
        typer.echo(line, err=err)
