"""``edge-mer replay FILE``: play a session on the bus, or prove that it replays (``--verify``)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.cli.options import ConfigFile, Directory, From, Json, Setting, To, overrides
from edge_mer.client.keyboard import Keyboard
from edge_mer.config import Config, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Message
from edge_mer.host.interrupt import interruptible
from edge_mer.session import replay_components as parts
from edge_mer.session import verifier
from edge_mer.session.keys import key_store
from edge_mer.session.player import Player, Speed, components_for
from edge_mer.session.process_replay import replay_in_process
from edge_mer.session.reader import Session, check_own
from edge_mer.session.verifier import Report


def replay(
    file: Annotated[Path, typer.Argument(help="session file, written by --record or edge-mer record")],
    speed: Annotated[str | None, typer.Option(help="1 is the original speed, 10 is ten times as fast; or max")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="run again and compare every result byte for byte")] = False,
    begin: From = 0.0,
    end: To = None,
    loop: Annotated[bool, typer.Option("--loop", help="repeat until Ctrl-C")] = False,
    perception: Annotated[bool, typer.Option(help="with --verify: encode recorded raw media again")] = True,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="with --verify: largest difference allowed; default 0, or 0.001 on another machine"),
    ] = None,
    json: Json = False,
    directory: Directory = None,
    setting: Setting = None,
    config: ConfigFile = None,
) -> None:
    """Play a session on the bus, or verify that it replays exactly.

    It is played on the sockets of the live workers. In a terminal, space pauses, the arrows seek, and + and - change
    the speed. With --verify, exit code 0 only if every result is identical (on another backend or processor: within
    the tolerance, which is reported). With --verify --speed it also runs through sockets and processes at that speed.
    """
    settings, _ = load(config, overrides(setting))
    if verify and (begin or end is not None or loop):
        raise typer.BadParameter("--verify takes the whole session; trim it first with: edge-mer session trim")
    if not verify:
        if tolerance is not None or not perception:
            raise typer.BadParameter("--tolerance and --no-perception need --verify")
        _play(file, _speed(speed or "1"), (begin, end, loop), directory, settings, json)
    elif not (_verify(file, settings, json, perception, tolerance) and _rerun(file, settings, json, speed)):
        raise typer.Exit(1)


def _verify(file: Path, settings: Config, json: bool, perception: bool, tolerance: float | None) -> bool:
    check_own(Session(file))  # a missing file, or one of another program, is no session that differs
    began = time.monotonic()
    with_ = parts.installed(settings, any_model=bool(tolerance))
    if not perception:
        with_ = replace(with_, encoder=None)
    report = verifier.verify(file, with_, key_store(settings), tolerance)
    took = time.monotonic() - began
    typer.echo(msgspec.json.encode(report).decode() if json else "\n".join(verdict(report, took)))
    return report.equal


def verdict(report: Report, took_s: float) -> list[str]:
    """The verdict as text, with the first difference field by field."""
    span = report.span_us / 1e6
    counts = f"{report.results} results of {report.entries} journal entries"
    counts += (f", {report.features} features" if report.features else "") + f", {span:.1f} s"
    pace = f"replayed in {took_s:.2f} s ({span / max(took_s, 1e-9):.0f} x real time)"
    if report.identical and report.joining:
        share = f"{report.proven:,} of {report.entries:,} entries, with {report.proven_results:,} identical results"
        lines = [f"proven: {share}, {span:.1f} s, {pace}"]
    elif report.identical:
        lines = [f"identical: {counts}, {pace}"]
    elif report.equal:
        lines = [
            f"equal within {report.tolerance:g}, NOT byte for byte (largest difference {report.largest:.2g}): "
            f"{counts}, {pace}"
        ]
    else:
        lines = [f"NOT identical: {report.reason}", f"compared before that: {counts}"]
    lines += [f"  {d.field}: recorded {d.recorded}, replayed {d.replayed}" for d in report.differences]
    lines += [f"different {k}: recorded on {a or 'unknown'}, here {b}" for k, (a, b) in report.elsewhere.items()]
    if report.joining:
        lines.append(
            f"not proven, as the recording joined a running node: {report.before:,} entries from before it, and "
            f"{report.joining - report.before:,} until it was in step"
        )
    if report.unproven:
        lines.append(f"{report.unproven} estimates without journal entry: their fusion node died at that moment")
    if report.features_unproven:
        lines.append(f"{report.features_unproven} features are not verified: their raw media is incomplete")
    return lines


def _rerun(file: Path, settings: Config, json: bool, speed: str | None) -> bool:
    """Run again through sockets and processes, if a speed was given."""
    if speed is None:
        return True
    outcome = replay_in_process(file, settings, _speed(speed))
    typer.echo(msgspec.json.encode(outcome).decode() if json else outcome.line)
    return outcome.identical


def _play(
    file: Path,
    speed: Speed,
    part: tuple[float, float | None, bool],
    directory: Path | None,
    settings: Config,
    json: bool,
) -> None:
    def show(message: Message[Any]) -> None:
        if message.topic == "emotion":
            typer.echo(message.header.decode() if json else line(message))

    session = Session(file, key_store(settings))
    check_own(session)
    begin, end, loop = part
    bus = ZmqBus(runtime_directory(str(directory) if directory else settings.run.directory))
    try:
        player = Player(
            session,
            bus,
            speed,
            settings.replay.topics,
            played=show,
            start_us=round(begin * SECOND),
            end_us=None if end is None else round(end * SECOND),
            loop=loop,
            components=components_for(session, settings),
        )
        with interruptible() as stop, Keyboard() as keyboard:
            while not (player.done or stop.requested):
                bus.wait(min(player.turn(), SECOND // 4), *keyboard.wake)
                for key in keyboard.pressed():
                    if key == "q":
                        return
                    steer(player, key)
    finally:
        bus.close()


def steer(player: Player, key: str) -> None:
    """Apply a key press to a playing session."""
    jump, faster = {"right": 5, "left": -5}, {"+": 2.0, "-": 0.5}
    if key == " ":
        (player.resume if player.paused else player.pause)()
    elif key in jump:
        player.seek(player.position_us + jump[key] * SECOND)
    elif key in faster and player.speed != "max":
        player.speed = min(max(player.speed * faster[key], 1 / 64), 64.0)


def line(message: Message[Estimate]) -> str:
    """``1234.50 s  atv  happy 0.62  sentiment +0.40``."""
    body = message.body
    label = body.label or f"({body.abstain})"
    confidence = "" if body.confidence is None else f" {body.confidence:.2f}"
    sentiment = "" if body.sentiment is None else f"  sentiment {body.sentiment:+.2f}"
    state = "" if body.final else "  provisional"
    return f"{message.envelope.origin_us / 1e6:10.2f} s  {body.combination:4}  {label}{confidence}{sentiment}{state}"


def _speed(text: str) -> Speed:
    """Raises BadParameter (exit code 2) for what is no speed."""
    if text == "max":
        return "max"
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"--speed takes a number above 0, or max; got {text!r}")
    return speed
