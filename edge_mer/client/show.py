"""Three ways to show a running instance: a live view, plain lines, or JSON lines."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_mer.bus import Bus
from edge_mer.client.snapshot import TOPICS, Snapshot
from edge_mer.client.view import render
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Message
from edge_mer.contract.plain_text import visible
from edge_mer.host.terminal import raw_stdout

if TYPE_CHECKING:
    from rich.console import RenderableType

FRAME_US = SECOND // 4
# Of several people it has the one who is in focus.
ESTIMATES = "emotion"
# Draws a snapshot at a time (us) under a title.
Draw = Callable[[Snapshot, int, str], "RenderableType"]


class Show(Protocol):
    def message(self, message: Message[Any], snapshot: Snapshot) -> None: ...

    def refresh(self, snapshot: Snapshot, now_us: int) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Shows nothing."""

    def message(self, message: Message[Any], snapshot: Snapshot) -> None:
        return None

    def refresh(self, snapshot: Snapshot, now_us: int) -> None:
        return None

    def close(self) -> None:
        return None


class JsonLines(Silent):
    """One line per estimate: the header as sent on the wire, nothing else."""

    def message(self, message: Message[Any], snapshot: Snapshot) -> None:
        if message.topic == ESTIMATES:
            sys.stdout.write(message.header.decode() + "\n")
            sys.stdout.flush()


class PlainLines:
    """For pipes and logs: one line per new window, and one per event."""

    def __init__(self) -> None:
        self._shown_us = self._noted = 0

    def message(self, message: Message[Any], snapshot: Snapshot) -> None:
        if message.topic == ESTIMATES and message.envelope.origin_us > self._shown_us:
            self._shown_us = message.envelope.origin_us
            at = (message.envelope.created_us - snapshot.started_us) / 1e6
            print(f"{at:7.1f} s  {one_line(message.body)}", flush=True)

    def refresh(self, snapshot: Snapshot, now_us: int) -> None:
        fresh = list(snapshot.events)[-(snapshot.noted - self._noted) :] if snapshot.noted > self._noted else []
        self._noted = snapshot.noted
        for at, text in fresh:
            print(f"{(at - snapshot.started_us) / 1e6:7.1f} s  * {text}", flush=True)

    def close(self) -> None:
        return None


class Screen:
    """The live view in a terminal; restores the terminal on close."""

    def __init__(self, title: str, draw: Draw = render) -> None:
        from rich.console import Console
        from rich.live import Live

        self._title, self._draw, self._due = visible(title), draw, 0
        self._live = Live(console=Console(file=raw_stdout()), screen=True, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def message(self, message: Message[Any], snapshot: Snapshot) -> None:
        return None

    def refresh(self, snapshot: Snapshot, now_us: int) -> None:

        if now_us >= self._due:
            self._due = now_us + FRAME_US
            self._live.update(self._draw(snapshot, now_us, self._title), refresh=True)

    def close(self) -> None:
        self._live.stop()


def save_svg(path: Path, snapshot: Snapshot, now_us: int, title: str, draw: Draw = render) -> None:
    """The live view as an SVG, for a README."""
    from rich.console import Console

    console = Console(record=True, width=100, height=24, file=io.StringIO(), force_terminal=True)
    console.print(draw(snapshot, now_us, title))
    path.write_text(console.export_svg(title="edge-mer demo"))


def choose(title: str, json: bool, draw: Draw = render) -> Show:
    """``draw`` makes the live view in a terminal."""
    if json:
        return JsonLines()
    return Screen(title, draw) if sys.stdout.isatty() else PlainLines()


def one_line(body: Estimate) -> str:
    """``atv   happy 0.62   sentiment +0.40   312 ms``."""
    label = f"{body.label} {body.confidence or 0:.2f}" if body.label else f"({body.abstain})"
    sentiment = "" if body.sentiment is None else f"  sentiment {body.sentiment:+.2f}"
    return f"{body.combination:<5} {label:<15}{sentiment}  {body.latency_ms.total:.0f} ms"


class Watcher:
    """Reads the topics of the snapshot and shows them; never writes to the bus."""

    def __init__(self, bus: Bus, show: Show) -> None:
        self.bus, self.show = bus, show
        self.snapshot = Snapshot(bus.clock.now_us())
        self._reader = bus.reader(*TOPICS)

    def turn(self) -> list[Message[Any]]:
        """All messages since the last turn; waits at most one frame for one."""
        self.bus.wait(FRAME_US)
        fresh = self._reader.drain()
        for message in fresh:
            self.snapshot.fold(message)
            self.show.message(message, self.snapshot)
        self.snapshot.latest_us = self.bus.clock.now_us()
        self.show.refresh(self.snapshot, self.snapshot.latest_us)
        return fresh
