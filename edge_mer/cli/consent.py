"""Consent: asked in a terminal on the first ``edge-mer run``, by ``edge-mer consent``, or given by ``--consent``."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.client.instance import NotRunning, find_instance, running_config
from edge_mer.client.status_text import consent_lines
from edge_mer.config import Config, is_off, load
from edge_mer.contract.errors import ConsentError
from edge_mer.contract.modalities import MODALITIES, TABLE
from edge_mer.host.files import shown_state_directory, state_directory
from edge_mer.privacy.consent.consent_file import (
    CONSENT_SCOPES,
    FILE,
    HISTORY,
    HOUSE,
    HOW,
    ConsentScope,
    check_place,
    deployment_path,
    read_deployment,
)
from edge_mer.privacy.consent_setup import agree, give, pair_console, withdraw

HOUSE_QUESTION = "May the level of voices, ten times a second and without words, be shared with the house of rooms?"
HISTORY_QUESTION = (
    "May hourly shares of the labels be kept on this machine, sealed and erasable, for the page's history?"
)


def matters(text: str) -> tuple[ConsentScope, ...]:
    """``audio,video`` as a tuple. An unknown name is wrong usage (exit code 2)."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or any(n not in CONSENT_SCOPES for n in names):
        raise typer.BadParameter(
            f"--consent takes some of {', '.join(CONSENT_SCOPES)}, with commas between; got {text!r}"
        )
    return tuple(m for m in CONSENT_SCOPES if m in names)


def consent(
    matter: Annotated[
        str | None, typer.Argument(metavar="[MATTER,...]", help=f"some of {','.join(CONSENT_SCOPES)}; default: asks")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="who consents; default: the user of this account")] = None,
    until: Annotated[
        datetime.datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="last day of the consent")
    ] = None,
    ends: Annotated[bool, typer.Option("--withdraw", help="withdraw consent, of everybody or of --who")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Give or withdraw consent, also while an instance runs.

    Without MATTER it asks in the terminal; without a terminal it shows what is agreed. A running instance follows
    within a second: what is withdrawn is masked, and what is given can be unmasked.
    """
    resolved, state, is_running = _place(directory, config)
    today = datetime.date.today()
    if ends:
        withdraw(state, matters(matter or ",".join(CONSENT_SCOPES)), who)
    elif matter is not None:
        give(state, matters(matter), who, today, until.date() if until else None)
    elif sys.stdin.isatty():
        who, agreed = _asked(resolved, ask_place=not (state / FILE).exists())
        give(state, agreed, who, today, until.date() if until else None)
    typer.echo("\n".join(consent_lines(state)))
    if not (state / FILE).exists():
        typer.echo(f"to consent, {HOW}")
    elif not ends:
        typer.echo(f"next: {'edge-mer unmask all' if is_running else 'edge-mer run'}")


def _place(directory: Path | None, config: Path | None) -> tuple[Config, Path, bool]:
    """Configuration and state directory of the running instance, or where none runs, as configured.

    Raises ConfigError for the instance of another user, also as root: that user could not read what root wrote.
    """
    try:
        place = find_instance(directory, config)
    except NotRunning:
        resolved = load(config)[0]
        return resolved, state_directory(resolved.privacy.state), False
    resolved, shown = running_config(place) or load(config)[0], shown_state_directory(place)
    return resolved, state_directory(str(shown) if shown is not None else resolved.privacy.state), True


def ensure(config: Config, given: tuple[ConsentScope, ...] | None, masked: bool = False) -> bool:
    """Whether to unmask at the start what nobody masked: in a terminal, and when this call names consent.

    Without consent on file it asks in a terminal, and raises ConsentError when nothing is agreed to; with ``masked``
    or without a terminal it starts all the same, and nothing can be unmasked until consent is given.
    """
    path = deployment_path(config)
    today, terminal = datetime.date.today(), sys.stdin.isatty()
    is_new = not path.exists()
    if is_new and given is None and (masked or not terminal):
        typer.echo(f"edge-mer: no consent has been given on this host yet, nothing can be unmasked; {HOW}", err=True)
        return False
    if is_new:
        who, agreed = (None, given) if given is not None else _asked(config)
        agree(config.privacy.state, agreed, who, today)
        typer.echo(f"consent written to {path}; to change it: edge-mer consent", err=True)
        return True
    if given is not None:
        give(state_directory(config.privacy.state), given, None, today)
    read_deployment(path)
    pair_console(state_directory(config.privacy.state), today)
    return terminal or given is not None


def _asked(config: Config, ask_place: bool = True) -> tuple[str, tuple[ConsentScope, ...]]:
    """Ask in the terminal. Raises ConsentError for a workplace or school, or when everything is refused."""
    typer.echo("edge_mer estimates emotions expressed in voice, face and words. Nothing leaves this machine.")
    if ask_place and not typer.confirm("Is this a private home (no workplace, no school)?"):
        check_place("workplace")
    who = typer.prompt("Your name", default=os.environ.get("USER") or "householder")
    agreed = tuple(scope for scope, question in _questions(config) if typer.confirm(question))
    if not agreed:
        raise ConsentError("no consent given; run edge-mer consent to change that")
    return who, agreed


def _questions(config: Config) -> Iterator[tuple[ConsentScope, str]]:
    """What this configuration needs consent to."""
    for modality in MODALITIES:
        if not is_off(config, modality):
            yield modality, TABLE[modality].words.question
    row = config.text.recogniser
    if row is not None and row.scope is not None:
        yield row.scope, row.question.format(server=getattr(config.text, row.argument or "", None) or "")
    if config.page.address is not None:
        yield HISTORY, HISTORY_QUESTION
    if config.house.share_voice:
        yield HOUSE, HOUSE_QUESTION
