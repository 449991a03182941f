"""The loop of the demo and of ``analyse``: an own instance, shown until the script or clip ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_mer.bus import ZmqBus
from edge_mer.capture.playback import END_OF_FILE, NOTHING_PLAYED
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import Instance
from edge_mer.client.show import Show, Watcher
from edge_mer.config import Config, sources_off
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import InputError, PrivacyError
from edge_mer.contract.messages import Message
from edge_mer.demo.clip import Clip
from edge_mer.demo.director import Director
from edge_mer.demo.showcase import Showcase
from edge_mer.demo.timeline import Timeline
from edge_mer.host.worker import Stop
from edge_mer.privacy.consent_setup import agreed_sources

LINGER_US = 5 * SECOND // 2  # after a clip's end: late text may still revise the last estimates
START_US, SCRIPT_US = 60 * SECOND, 55 * SECOND  # longest start, and longest script after it
LATEST_US = 4 * SECOND  # a header may state a wrong duration

Messages = list[Message[Any]]


@dataclass(frozen=True, slots=True)
class Running:
    """A started instance, and what it publishes."""

    instance: Instance
    bus: ZmqBus
    watcher: Watcher
    unmask: AutoUnmask


@contextmanager
def running(place: Path, settings: Config, show: Show) -> Iterator[Running]:
    """An instance in the folder ``place``, which unmasks itself: starting it is the consent."""
    runtime = place / "run"
    runtime.mkdir(mode=0o700)
    with ExitStack() as ending:
        ending.callback(show.close)
        instance = Instance(settings, runtime)
        ending.callback(instance.stop)
        bus = ZmqBus(runtime)
        ending.callback(bus.close)
        watcher = Watcher(bus, show)
        watcher.snapshot.off = sources_off(settings)
        yield Running(instance, bus, watcher, AutoUnmask(bus, agreed_sources(settings), resume=False))


def play(run: Running, stop: Stop, ended: Callable[[Messages], bool]) -> None:
    """Until ``ended`` of the fresh messages, or the user stops it. Raises when the instance has ended by itself."""
    while not stop.requested:
        fresh = run.watcher.turn()
        run.instance.check()
        run.unmask.turn()
        if run.unmask.refusal:
            raise PrivacyError(run.unmask.refusal)
        if ended(fresh):
            return


class ScriptEnd:
    """Runs a script once everything has started: a slow start must not use up the patience of its first steps."""

    def __init__(self, run: Running, director: Director) -> None:
        self._run, self._director = run, director
        self._began_us: int | None = None

    def __call__(self, fresh: Messages) -> bool:
        snapshot, now = self._run.watcher.snapshot, self._run.bus.clock.now_us()
        if self._began_us is None:
            if not self._run.unmask.done or snapshot.estimate is None:
                return now - snapshot.started_us > START_US
            self._began_us = now
        self._director.turn(fresh, now)
        return self._director.done or now - self._began_us > SCRIPT_US


class ShowEnd:
    """Follows the scenes from the first message on, then runs the steps of the showcase."""

    def __init__(self, run: Running, show: Showcase) -> None:
        self._run, self._show = run, show

    def __call__(self, fresh: Messages) -> bool:
        now = self._run.bus.clock.now_us()
        self._show.turn(fresh, now)
        return self._show.done or now - self._run.watcher.snapshot.started_us > START_US + SCRIPT_US


class ClipEnd:
    """Folds the timeline of a clip, and notices its end."""

    def __init__(self, run: Running, clip: Clip, settings: Config) -> None:
        """Raises InputError when the configuration plays nothing of the clip."""
        self.timeline = Timeline(clip.name, clip.is_photo, clip.seconds)
        self._clock, self._snapshot = run.bus.clock, run.watcher.snapshot
        self._tracks = [m for m in MODALITIES if getattr(settings, m).source == "file"]
        if not self._tracks:
            raise InputError(f"nothing of {clip.name} plays: audio.source and video.source are not file")
        self._start = run.bus.reader(*(f"raw/{m}" for m in self._tracks))
        self._words = run.bus.reader("raw/text")
        self._ended_us: int | None = None

    def __call__(self, fresh: Messages) -> bool:
        self._check()
        if self.timeline.began_us is None and (first := self._start.drain()):
            self.timeline.began_us = min(m.envelope.origin_us for m in first)
            self._start.close()
        for message in (*fresh, *self._words.drain()):
            self.timeline.take(message)
        now, began = self._clock.now_us(), self.timeline.began_us
        played = None if began is None else now - began - round(self.timeline.seconds * SECOND)
        if played is not None and played > LATEST_US:
            return True
        is_over = self._have_ended() or (played is not None and played > 0)
        self._ended_us = (self._ended_us or now) if is_over else None
        if self._ended_us is None or now - self._ended_us <= LINGER_US:
            return False
        if (why := self._nothing_played()) is not None:
            raise InputError(f"{self.timeline.name}: {why}")
        return True

    def _nothing_played(self) -> str | None:
        """The reasons of the tracks when none of them gave anything; None otherwise."""
        reasons = [s.reason or "" for m in self._tracks if (s := self._snapshot.sensors.get(m)) is not None]
        ended = [r for r in reasons if r.startswith(END_OF_FILE)]
        return "; ".join(reasons) if ended and all(r.startswith(NOTHING_PLAYED) for r in ended) else None

    def _check(self) -> None:
        """Raises InputError when the capture process cannot play the clip."""
        worker = self._snapshot.health.workers.get("file") if self._snapshot.health else None
        if worker is not None and worker.reason and worker.state in ("restarting", "failed") and worker.restarts > 0:
            raise InputError(worker.reason)

    def _have_ended(self) -> bool:
        """Whether every track of the clip that plays has ended or does not exist."""
        sensors = [self._snapshot.sensors.get(m) for m in self._tracks]
        return all(s is not None and s.gate == "live" and s.health == "absent" for s in sensors)
