"""``edge-mer demo``: the whole application on a bundled session, or on your own clip, without any setup."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.bus import ZmqBus
from edge_mer.cli.options import Json, Setting, overrides
from edge_mer.client import PendingCommands
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.client.show import Watcher, choose, save_svg
from edge_mer.contract.errors import InputError, SessionError
from edge_mer.demo.config import demo_config
from edge_mer.demo.play import nothing_played, play
from edge_mer.demo.script import STAY_US, Director
from edge_mer.gateway.page.http_auth import page_link
from edge_mer.host.interrupt import interruptible
from edge_mer.privacy.consent_setup import agreed_sources


def demo(
    media: Annotated[Path | None, typer.Option("--media", help="an audio or video file of your own")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="record the session into this file (MCAP)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="save the live view as SVG at the end")] = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Play a session through the whole pipeline, with masks and crashes.

    Needs no microphone, camera, GPU, network or download. Exit code 0 when all seven combinations and none were seen.
    """

    if media is not None:
        from edge_mer.capture.playback.media_probe import probe  # PyAV: only where a clip is named

        probe(str(media.absolute()))
    if record is not None and record.exists():
        raise SessionError(f"{record} exists and is not overwritten; choose another name")
    with interruptible() as stop, temporary_place() as place, ExitStack() as ending:
        settings = demo_config(Path(place), media, record, overrides(setting))
        runtime = Path(place) / "run"
        runtime.mkdir(mode=0o700)
        instance = Instance(settings, runtime)
        ending.callback(instance.stop)
        bus = ZmqBus(runtime)
        ending.callback(bus.close)
        if (link := page_link(settings, sys.stderr.isatty())) is not None:
            typer.echo(f"the page: {link}", err=True)
        show = choose(f"demo of {media.name if media else 'the bundled session'}", json)
        ending.callback(show.close)
        watcher = Watcher(bus, show)
        unmask = AutoUnmask(bus, agreed_sources(settings), resume=False)
        switch = PendingCommands.local(bus, "the demo")
        director = None if media else Director(bus.clock, watcher.snapshot, switch, stay_us=0 if json else STAY_US)
        play(watcher, instance.check, stop, unmask, director)
        if picture is not None:
            save_svg(picture, watcher.snapshot, bus.clock.now_us(), "demo of the bundled session")
    for line in director.summary() if director else watcher.summary():
        typer.echo(line, err=json)
    if record is not None:
        typer.echo(f"recorded into {record}; prove it with: edge-mer replay {record} --verify", err=json)
    if media is not None and (why := nothing_played(watcher)) is not None and not stop.requested:
        raise InputError(f"{media}: {why}")
    if watcher.snapshot.estimate is None or (director is not None and director.missing and not stop.requested):
        raise typer.Exit(1)
