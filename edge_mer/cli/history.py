"""``edge-mer history``: the hourly shares that the page's process keeps with consent; show, export, erase."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import load
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.modalities import MODALITIES
from edge_mer.gateway.page.history_text import paragraph, percent
from edge_mer.gateway.page.strings import plain
from edge_mer.history.shares import HourShares, shares_of, table
from edge_mer.history.store import history_store
from edge_mer.privacy.consent.consent_file import HISTORY, agreed

TODAY = "today"
HOW = "to keep one: edge-mer run --consent history, with page.address set"
SHOWN = 3
history = command_group("Show the history of hourly shares, or erase from it.")


@history.callback(invoke_without_command=True, no_args_is_help=False)
def show(
    context: typer.Context,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="how many days, today included")] = 1,
    csv: Annotated[bool, typer.Option("--csv", help="print a table instead, one row per hour and share")] = False,
    config: ConfigFile = None,
) -> None:
    """Show the history of hourly shares, or erase from it."""
    if context.invoked_subcommand is not None:
        return
    settings, today = load(config)[0], datetime.date.today()
    read = history_store(settings).read(today - datetime.timedelta(days=days - 1), today)
    hours = [shares_of(hour) for hour in read]
    if csv:
        typer.echo(table(hours), nl=False)
        return
    is_on = HISTORY in agreed(settings, SystemClock().wall_us())
    if not is_on:
        typer.echo(f"no history is kept; {HOW}", err=True)
    if is_on or hours:
        typer.echo(paragraph("en", hours))
    for hour in hours:
        typer.echo(line(hour))


@history.command()
def erase(
    what: Annotated[str, typer.Argument(metavar="DAY|MODALITY", help=f"YYYY-MM-DD, today, {', '.join(MODALITIES)}")],
    config: ConfigFile = None,
) -> None:
    """Destroy the keys of a day, or of a modality on all days, which cannot be undone.

    Everything that was estimated with a modality goes with it; words from the microphone go with the microphone.
    """
    named = datetime.date.today().isoformat() if what == TODAY else what
    erasure = history_store(load(config)[0]).erase(named, "the command line", SystemClock().wall_us())
    typer.echo(f"{named}: erased, {len(erasure.keys)} keys are destroyed; receipt {erasure.number}")


def line(hour: HourShares) -> str:
    """``2026-11-21 18:00  52 min  happy 40 %, neutral 30 %; no label 20 %: Too unsure for a label; masked: audio``."""
    labels = sorted(hour.labels.items(), key=lambda item: -item[1])[:SHOWN]
    parts = [", ".join(f"{label} {percent(share)}" for label, share in labels)]
    if hour.reasons:
        reason = max(hour.reasons, key=lambda r: hour.reasons[r])
        parts.append(f"no label {percent(sum(hour.reasons.values()))}: {plain('en', reason)}")
    parts += [f"{word}: {', '.join(m)}" for word, m in (("masked", hour.masked), ("erased", hour.erased)) if m]
    return f"{hour.day} {hour.hour:02}:00  {hour.seconds / 60:3.0f} min  {'; '.join(filter(None, parts))}"
