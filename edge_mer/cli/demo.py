"""``edge-mer demo``: the whole application on bundled scenes, or on your own clip, without any setup."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.bus import ZmqBus
from edge_mer.cli.options import Json, Setting, overrides
from edge_mer.cli.program import program
from edge_mer.client import PendingCommands
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.client.show import Watcher, choose, save_svg
from edge_mer.client.snapshot import Snapshot
from edge_mer.client.view import render
from edge_mer.contract.errors import InputError, SessionError
from edge_mer.demo import scenes, stage_view
from edge_mer.demo.chaos import SCRIPT, missing
from edge_mer.demo.chaos import summary as chaos_summary
from edge_mer.demo.config import SESSION, WORDS, demo_config
from edge_mer.demo.director import STAY_US, Director
from edge_mer.demo.pictures import Pictures
from edge_mer.demo.play import play
from edge_mer.demo.showcase import FINALE, Showcase
from edge_mer.demo.summary import summary
from edge_mer.gateway.page.http_auth import page_link
from edge_mer.host.interrupt import interruptible
from edge_mer.privacy.consent_setup import agreed_sources


def demo(
    media: Annotated[Path | None, typer.Option("--media", help="an audio or video file of your own")] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="mask and kill until all combinations of modalities were seen")
    ] = False,
    record: Annotated[Path | None, typer.Option("--record", help="record the session into this file (MCAP)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="save the live view as SVG at the end")] = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Play four scenes through the whole pipeline: what each intends, what is estimated, a mask and a crash.

    Needs no microphone, camera, GPU, network or download. Exit code 0 when every scene was seen, the mask was proven
    and the killed process came back; with --chaos, when all seven combinations and none were seen.
    """
    if media is not None and chaos:
        raise InputError("--chaos plays the bundled session: leave out --media")
    if media is not None and not media.is_file():
        raise InputError(f"{media}: no such file")
    if record is not None and record.exists():
        raise SessionError(f"{record} exists and is not overwritten; choose another name")
    bundled = (SESSION, WORDS) if chaos else (scenes.MEDIA, scenes.WORDS)
    with interruptible() as stop, temporary_place() as place, ExitStack() as ending:
        settings = demo_config(Path(place), media, record, overrides(setting), bundled)
        runtime = Path(place) / "run"
        runtime.mkdir(mode=0o700)
        instance = Instance(settings, runtime)
        ending.callback(instance.stop)
        bus = ZmqBus(runtime)
        ending.callback(bus.close)
        if (link := page_link(settings, sys.stderr.isatty())) is not None:
            typer.echo(f"the page: {link}", err=True)
        snapshot = Snapshot(bus.clock.now_us())
        switch = PendingCommands.local(bus, "the demo")
        plan: Director | Showcase | None = None
        draw = render
        if chaos:
            plan = Director(bus.clock, snapshot, switch, SCRIPT, stay_us=0 if json else STAY_US)
        elif media is None:
            plan = Showcase(scenes.bundled(), Director(bus.clock, snapshot, switch, FINALE))
            draw = partial(stage_view.render, plan, Pictures(scenes.MEDIA))
        show = choose(f"demo of {media.name}" if media else "demo", json, draw)
        ending.callback(show.close)
        watcher = Watcher(bus, show, snapshot)
        unmask = AutoUnmask(bus, agreed_sources(settings), resume=False)
        play(watcher, instance.check, stop, unmask, plan)
        if picture is not None:
            save_svg(picture, snapshot, bus.clock.now_us(), "demo", draw)
    for line in _summary(plan, watcher):
        typer.echo(line, err=json)
    if record is not None:
        typer.echo(f"recorded into {record}; prove it with: {program()} replay {record} --verify", err=json)
    if stop.requested and plan is not None:
        raise typer.Exit(130)
    if snapshot.estimate is None or _missed(plan):
        raise typer.Exit(1)


def _summary(plan: Director | Showcase | None, watcher: Watcher) -> list[str]:
    if isinstance(plan, Showcase):
        return summary(plan, program())
    return chaos_summary(plan) if plan is not None else watcher.summary()


def _missed(plan: Director | Showcase | None) -> bool:
    """Whether something that the demo is to show did not happen."""
    if isinstance(plan, Showcase):
        return not plan.done or bool(plan.failed)
    return plan is not None and bool(missing(plan))
