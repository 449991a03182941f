"""Plays one file of the user through the whole pipeline, and returns what was expressed when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_mer.client.instance import temporary_place
from edge_mer.client.show import Show
from edge_mer.client.snapshot import Snapshot
from edge_mer.config import Config
from edge_mer.demo.clip import open_clip
from edge_mer.demo.config import demo_config
from edge_mer.demo.play import ClipEnd, play, running
from edge_mer.demo.timeline import Timeline
from edge_mer.host.worker import Stop

Settings = dict[str, dict[str, Any]]


def busy(snapshot: Snapshot) -> str | None:
    """That the machine was too slow for this clip, which withholds labels; None where nothing came too late."""
    workers = snapshot.health.workers.values() if snapshot.health else ()
    late = sum(worker.counters.get("late", 0) for worker in workers)
    if not late:
        return None
    return f"the machine was busy: {late} pictures or blocks of sound came too late; run it again when less else runs"


def analyse(
    media: Path,
    more: Settings,
    show: Callable[[], Show],
    stop: Stop,
    check: Callable[[Config], None],
    record: Path | None = None,
) -> tuple[Timeline, Snapshot]:
    """``more`` are settings of the user, ``check`` is called before anything starts, ``show`` then.

    Raises InputError, or what ``check`` raises.
    """
    with temporary_place() as folder:
        place = Path(folder)
        clip = open_clip(media, place)
        settings = demo_config(place, clip, record, more)
        check(settings)
        with running(place, settings, show()) as run:
            end = ClipEnd(run, clip, settings)
            play(run, stop, end)
            return end.timeline, run.watcher.snapshot
