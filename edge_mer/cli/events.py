"""``edge-mer events``: what may become an event at which budget, the events of the running instance, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from edge_mer.bus import ReliableReader
from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.cli.typer_apps import command_group
from edge_mer.client.instance import connected
from edge_mer.config import Config, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import EventChange
from edge_mer.events import corrections
from edge_mer.events.chosen import chosen_settings
from edge_mer.events.fold import key
from edge_mer.gateway.formats import event_to_emotionml
from edge_mer.host.files import state_directory, state_path
from edge_mer.host.interrupt import interruptible

# A reader of a running instance receives what it still keeps within this time.
JOIN_US = SECOND
events = command_group("Show events and their budgets, or call one wrong.")
Event = Annotated[str, typer.Argument(metavar="ID", help="as events shows it: angry-av-12345")]


@events.callback(invoke_without_command=True, no_args_is_help=False)
def show(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="print events until Ctrl-C")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the header of every message")] = False,
    emotionml: Annotated[bool, typer.Option("--emotionml", help="print an EmotionML document a line")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Show events and their budgets, or call one wrong.

    Without --follow: the budgets, then the events that the running instance still holds; a mask deletes them.
    """
    if context.invoked_subcommand is not None:
        return
    plain = not (json or emotionml)
    if plain and not follow:
        for text in budgets(load(config)[0]):
            typer.echo(text)
    try:
        with connected(directory, config) as bus, interruptible() as stop:
            reader, end = ReliableReader(bus, "event"), bus.clock.now_us() + JOIN_US
            while not stop.requested and (follow or bus.clock.now_us() < end):
                for message in reader.drain():
                    if emotionml:
                        typer.echo(event_to_emotionml(message.body, bus.clock.wall_us() - bus.clock.now_us()))
                    else:
                        typer.echo(message.header.decode() if json else line(message.body))
                bus.wait(SECOND // 10)
    except EdgeMerError as error:
        if follow or not plain:
            raise
        typer.echo(f"no events are shown: {error}", err=True)


@events.command()
def wrong(event: Event, config: ConfigFile = None) -> None:
    """Call an event wrong: its threshold rises by a quarter, at most four times. Nothing is sent anywhere."""
    found = corrections.wrong(state_directory(load(config)[0].privacy.state), event)
    typer.echo(_factor(found, event))


@events.command()
def right(event: Event, config: ConfigFile = None) -> None:
    """Take back that an event was called wrong."""
    found = corrections.take_back(state_directory(load(config)[0].privacy.state), event)
    typer.echo(_factor(found, event))


@events.command()
def erase(config: ConfigFile = None) -> None:
    """Erase everything that was called wrong; a running instance follows within a second."""
    there = corrections.erase(state_path(load(config)[0].privacy.state))
    typer.echo("erased; the shipped thresholds hold" if there else "nothing was called wrong")


def _factor(found: corrections.Corrections, event: str) -> str:
    name = corrections.threshold_of(event)
    return f"the threshold of {name} is {found.factors.get(name, 1.0):.2f} times the shipped one"


def budgets(config: Config) -> Iterator[str]:
    """``angry of av: at most one wrong event in 25 h, measured``."""
    settings, off, fault = chosen_settings(config, None)
    if settings is None:
        yield f"events are off: {fault}"
        return
    for label, rules in settings.rules.items():
        for combination, rule in rules.items():
            factor = settings.factors.get(key(label, combination), 1.0)
            called = f"; called wrong, threshold {factor:.2f} times the shipped one" if factor != 1 else ""
            yield f"{label} of {combination}: at most one wrong event in {rule.hours_per_wrong:.3g} h, measured{called}"
    for name, reason in off.items():
        yield f"{name.replace('/', ' of ')}: off, {reason}"


def line(change: EventChange) -> str:
    """``angry-av-12345  began: angry, evidence 4.1 of 4.0 nats; at most one wrong event in 25 h``."""
    if change.phase == "end":
        seconds = ((change.end_us or change.begin_us) - change.begin_us) / SECOND
        return f"{change.event}  ended after {seconds:.1f} s: {change.label}; {change.reason}"
    evidence = f"evidence {change.evidence:.1f} of {change.threshold:.1f} nats"
    return (
        f"{change.event}  began: {change.label}, {evidence}; at most one wrong event in {change.hours_per_wrong:.3g} h"
    )
