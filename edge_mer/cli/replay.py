"""``edge-mer replay FILE``: play a session on the bus, or prove that it replays (``--verify``)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edge_mer import config as configuration
from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.clock import SECOND
from edge_mer.config import Config
from edge_mer.errors import ConfigError, EdgeMerError
from edge_mer.messages import Estimate, Message
from edge_mer.session.player import Player, Speed
from edge_mer.session.reader import Session
from edge_mer.session.verifier import Report, installed, verify
from edge_mer.worker import Stop


def replay(
    file: Annotated[Path, typer.Argument(help="session file, as written by --record or edge-mer record")],
    speed: Annotated[str, typer.Option(help="1 is the original spacing, 10 is ten times as fast, or max")] = "1",
    check: Annotated[
        bool, typer.Option("--verify", help="re-run fusion and compare every result byte for byte")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML config: runtime directory and models")] = None,
) -> None:
    """Play a recorded session on the sockets of the live workers, or verify it: exit 0 only if all is identical."""
    try:
        settings, _ = configuration.load(config)
        good = _verify(file, settings, json) if check else _play(file, _speed(speed), settings, json)
    except EdgeMerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if good else 1)


def _verify(file: Path, settings: Config, json: bool) -> bool:
    began = time.monotonic()
    report = verify(file, installed(settings.models))
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


def _play(file: Path, speed: Speed, settings: Config, json: bool) -> bool:
    def show(message: Message[Any]) -> None:
        if isinstance(message.body, Estimate):
            typer.echo(message.header.decode() if json else line(message))

    bus = ZmqBus(runtime_directory(settings.run.directory))
    try:
        player, stop = Player(Session(file), bus, speed, played=show), Stop()
        while not (player.done or stop.asked):
            bus.wait(min(player.turn(), SECOND // 4))
        player.close()
    finally:
        bus.close()
    return True


def line(message: Message[Estimate]) -> str:
    """``1234.50 s  atv  happy 0.62  sentiment +0.40``."""
    body = message.body
    label = body.label or f"({body.abstain})"
    confidence = "" if body.confidence is None else f" {body.confidence:.2f}"
    sentiment = "" if body.sentiment is None else f"  sentiment {body.sentiment:+.2f}"
    state = "" if body.final else "  provisional"
    return f"{message.envelope.origin_us / 1e6:10.2f} s  {body.combination:4}  {label}{confidence}{sentiment}{state}"


def _speed(text: str) -> Speed:
    if text == "max":
        return "max"
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--speed takes a number above 0, or max; got {text!r}") from None
