"""``edge-mer demo``: the whole application on a bundled session, or on your own clip, with nothing to set up."""

from __future__ import annotations

import datetime
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_mer.cli.options import Json, Setting, overrides

if TYPE_CHECKING:
    from edge_mer.cli.opening import Opening
    from edge_mer.cli.script import Director
    from edge_mer.cli.show import Watcher
    from edge_mer.config import Config
    from edge_mer.worker import Stop

ASSETS = Path(__file__).parent / "assets"
SESSION, WORDS = ASSETS / "demo.mkv", ASSETS / "demo.words.json"
LINGER_S = 2.5  # after a clip's end: late words may still revise the last estimates


def demo(
    media: Annotated[Path | None, typer.Option("--media", help="an audio or video file of your own")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="record the session into this file (MCAP)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="save the live view as SVG at the end")] = None,
    json: Json = False,
    setting: Setting = None,
) -> None:
    """Play a session through capture, perception and fusion, masking and killing things on the way.

    Needs no microphone, camera, GPU, network or download. Exit code 0 when all seven combinations and none were seen.
    """
    from edge_mer.bus import ZmqBus
    from edge_mer.cli.console import Console
    from edge_mer.cli.instance import Instance, temporary_place
    from edge_mer.cli.interrupt import interruptible
    from edge_mer.cli.opening import Opening
    from edge_mer.cli.run import agreed_sources, page_link
    from edge_mer.cli.script import STAY_US, Director
    from edge_mer.cli.show import Watcher, choose, save_svg
    from edge_mer.errors import InputError, SessionError

    if media is not None and not media.is_file():
        raise InputError(f"{media}: no such file")
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
        if (link := page_link(settings)) is not None:
            typer.echo(f"the page: {link}", err=True)
        show = choose(f"demo of {media.name if media else 'the bundled session'}", json)
        ending.callback(show.close)
        watcher = Watcher(bus, show)
        opening = Opening(bus, agreed_sources(settings), action="unmask")
        director = None if media else Director(bus, watcher.picture, Console(bus), stay_us=0 if json else STAY_US)
        _play(watcher, instance.check, stop, opening, director)
        if picture is not None:
            save_svg(picture, watcher.picture, bus.clock.now_us(), "demo of the bundled session")
    for line in director.summary() if director else watcher.summary():
        typer.echo(line, err=json)
    if record is not None:
        typer.echo(f"recorded into {record}; prove it with: edge-mer replay {record} --verify", err=json)
    if watcher.picture.estimate is None or (director is not None and director.missing and not stop.asked):
        raise typer.Exit(1)


def demo_config(place: Path, media: Path | None, record: Path | None, more: dict[str, dict[str, Any]]) -> Config:
    """Everything from files, a deployment of its own: nothing of the user's is read or changed.

    The file is what is consented to here, by whoever starts the command.
    """
    from edge_mer.config import Config, load
    from edge_mer.privacy.household import agree
    from edge_mer.session.keys import key_store

    user, _ = load(None, more)  # names what is wrong with --set
    sections: dict[str, dict[str, Any]] = {
        "audio": {"source": "file"},
        "video": {"source": "file", "live": False},
        "text": {"source": "recorded", "path": str(WORDS)},
        "file": {"path": str(SESSION), "loop": True},
        "privacy": {"state": str(place / "privacy")},
        # The keys of a recording outlive the demo's own state.
        "record": {"path": str(record.absolute()) if record else None, "keys": str(key_store(user).directory)},
    }
    if media is not None:
        heard = find_spec("pocketsphinx") is not None
        sections["text"] = {"source": "asr", "engine": "pocketsphinx"} if heard else {"source": "off"}
        sections["file"] = {"path": str(media.absolute()), "loop": False}
    for section, values in more.items():
        sections.setdefault(section, {}).update(values)
    config = Config.model_validate(sections)
    agree(config.privacy.state, ("audio", "video", "text"), "who started the demo", datetime.date.today())
    return config


def _play(watcher: Watcher, check: Any, stop: Stop, opening: Opening, director: Director | None) -> None:
    from edge_mer.cli.script import LIMIT_S
    from edge_mer.clock import SECOND

    clock, began, ended_us = watcher.bus.clock, watcher.bus.clock.now_us(), None
    while not stop.asked:
        fresh = watcher.turn()
        check()
        opening.turn(watcher.picture)
        now = clock.now_us()
        if director is not None:
            director.turn(fresh)
            if director.done or now - began > LIMIT_S * SECOND:
                return
            continue
        check_clip(watcher)
        ended_us = (ended_us or now) if clip_ended(watcher) else None
        if ended_us is not None and now - ended_us > LINGER_S * SECOND:
            return


def check_clip(watcher: Watcher) -> None:
    """Raises InputError when the capture process cannot play the clip."""
    from edge_mer.errors import InputError

    health = watcher.picture.health
    worker = health.workers.get("file") if health else None
    if worker is not None and worker.reason and worker.state in ("restarting", "failed") and worker.restarts > 0:
        raise InputError(worker.reason)


def clip_ended(watcher: Watcher) -> bool:
    """Both tracks of the clip say that they are over (or that the clip has none)."""
    sensors = [watcher.picture.sensors.get(m) for m in ("audio", "video")]
    return all(s is not None and s.gate == "live" and s.health == "absent" for s in sensors)
