"""``edge-mer replay FILE``: play a session on the bus, or prove that it replays (``--verify``)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edge_mer.cli.options import ConfigFile, Directory, Json

if TYPE_CHECKING:
    from edge_mer.config import Config
    from edge_mer.messages import Estimate, Message
    from edge_mer.session.player import Speed
    from edge_mer.session.verifier import Report


def replay(
    file: Annotated[Path, typer.Argument(help="session file, as written by --record or edge-mer record")],
    speed: Annotated[str, typer.Option(help="1 is the original spacing, 10 is ten times as fast; or max")] = "1",
    verify: Annotated[bool, typer.Option("--verify", help="fold again and compare every result byte for byte")] = False,
    json: Json = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Play a session on the sockets of the live workers; or verify it: exit 0 only if every result is identical."""
    from edge_mer.config import load

    settings, _ = load(config)
    if not verify:
        _play(file, _speed(speed), directory, settings, json)
    elif not _verify(file, settings, json):
        raise typer.Exit(1)


def _verify(file: Path, settings: Config, json: bool) -> bool:
    from edge_mer.session import parts, verifier
    from edge_mer.session.keys import key_store

    began = time.monotonic()
    report = verifier.verify(file, parts.installed(settings), key_store(settings))
    took = time.monotonic() - began
    typer.echo(msgspec.json.encode(report).decode() if json else "\n".join(verdict(report, took)))
    return report.identical


def verdict(report: Report, took_s: float) -> list[str]:
    """What a person reads: the verdict, and the first difference field by field."""
    span = report.span_us / 1e6
    counts = f"{report.results} results of {report.entries} journal entries, {span:.1f} s"
    if report.identical:
        lines = [f"identical: {counts}, replayed in {took_s:.2f} s ({span / max(took_s, 1e-9):.0f} x real time)"]
    else:
        lines = [f"NOT identical: {report.reason}", f"compared until then: {counts}"]
    lines += [f"  {d.field}: recorded {d.recorded}, replayed {d.replayed}" for d in report.differences]
    if report.unproven:
        lines.append(f"{report.unproven} estimates without journal entry: their fusion node died in that moment")
    return lines


def _play(file: Path, speed: Speed, directory: Path | None, settings: Config, json: bool) -> None:
    from edge_mer.bus import ZmqBus, runtime_directory
    from edge_mer.cli.interrupt import interruptible
    from edge_mer.clock import SECOND
    from edge_mer.session.player import Player
    from edge_mer.session.reader import Session

    def show(message: Message[Any]) -> None:
        if message.topic == "emotion":
            typer.echo(message.header.decode() if json else line(message))

    bus = ZmqBus(runtime_directory(str(directory) if directory else settings.run.directory))
    try:
        player = Player(Session(file), bus, speed, played=show)
        with interruptible() as stop:
            while not (player.done or stop.asked):
                bus.wait(min(player.turn(), SECOND // 4))
    finally:
        bus.close()


def line(message: Message[Estimate]) -> str:
    """``1234.50 s  atv  happy 0.62  sentiment +0.40``."""
    body = message.body
    label = body.label or f"({body.abstain})"
    confidence = "" if body.confidence is None else f" {body.confidence:.2f}"
    sentiment = "" if body.sentiment is None else f"  sentiment {body.sentiment:+.2f}"
    state = "" if body.final else "  provisional"
    return f"{message.envelope.origin_us / 1e6:10.2f} s  {body.combination:4}  {label}{confidence}{sentiment}{state}"


def _speed(text: str) -> Speed:
    """Wrong form is wrong usage (exit code 2)."""
    if text == "max":
        return "max"
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"--speed takes a number above 0, or max; got {text!r}")
    return speed
