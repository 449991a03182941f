"""The loop of the demo: show messages, and run the script or play a clip to its end."""

from __future__ import annotations

from collections.abc import Callable

from edge_mer.capture.playback import END_OF_FILE, NOTHING_PLAYED
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.show import Watcher
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import InputError
from edge_mer.demo.script import LIMIT_S, Director
from edge_mer.host.worker import Stop

LINGER_S = 2.5  # after a clip's end: late text may still revise the last estimates


def play(
    watcher: Watcher, check: Callable[[], object], stop: Stop, unmask: AutoUnmask, director: Director | None
) -> None:
    """Run until the script or clip has ended, or the user stops it. ``check`` raises when the instance has ended."""
    clock, began, ended_us = watcher.bus.clock, watcher.bus.clock.now_us(), None
    while not stop.requested:
        fresh = watcher.turn()
        check()
        unmask.turn()
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

    health = watcher.snapshot.health
    worker = health.workers.get("file") if health else None
    if worker is not None and worker.reason and worker.state in ("restarting", "failed") and worker.restarts > 0:
        raise InputError(worker.reason)


def clip_ended(watcher: Watcher) -> bool:
    """Whether both tracks of the clip have ended or do not exist."""
    sensors = [watcher.snapshot.sensors.get(m) for m in ("audio", "video")]
    return all(s is not None and s.gate == "live" and s.health == "absent" for s in sensors)


def nothing_played(watcher: Watcher) -> str | None:
    """The reasons of both tracks when none of them gave anything; None otherwise."""
    sensors = [watcher.snapshot.sensors.get(m) for m in ("audio", "video")]
    reasons = [(s.reason or "") for s in sensors if s is not None]
    ended = [r for r in reasons if r.startswith(END_OF_FILE)]
    return "; ".join(reasons) if all(r.startswith(NOTHING_PLAYED) for r in ended) else None
