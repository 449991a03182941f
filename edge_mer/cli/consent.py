"""Consent: asked in a terminal on the first ``edge-mer run``, or given by ``--consent``."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator

import msgspec
import typer

from edge_mer.config import Config, is_off
from edge_mer.contract.errors import ConsentError
from edge_mer.contract.modalities import MODALITIES, TABLE
from edge_mer.host.files import state_directory
from edge_mer.privacy.consent.consent_file import (
    CONSENT_SCOPES,
    HISTORY,
    HOUSE,
    HOW,
    Consent,
    ConsentScope,
    check_place,
    deployment_path,
    read_deployment,
    write_deployment,
)
from edge_mer.privacy.consent_setup import agree, pair_console

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


def ensure(config: Config, given: tuple[ConsentScope, ...] | None, masked: bool = False) -> bool:
    """Whether to unmask at the start what nobody masked: in a terminal, and when this call names consent.

    Raises ConsentError when there is no consent; ``masked`` starts without, and then nothing can be unmasked.
    """
    path = deployment_path(config)
    today, terminal = datetime.date.today(), sys.stdin.isatty()
    is_new = not path.exists()
    if is_new and given is None and masked:
        typer.echo(f"edge-mer: no consent has been given on this host yet, nothing can be unmasked; {HOW}", err=True)
        return False
    if is_new and given is None and not terminal:
        raise ConsentError(f"no consent has been given on this host yet; {HOW}")
    if is_new:
        who, agreed = (None, given) if given is not None else _asked(config)
        agree(config.privacy.state, agreed, who, today)
        typer.echo(f"consent written to {path}; to change it, edit or delete that file", err=True)
        return True
    if given is not None:
        _add(config, given, today)
    read_deployment(path)
    pair_console(state_directory(config.privacy.state), today)
    return terminal or given is not None


def _add(config: Config, given: tuple[ConsentScope, ...], today: datetime.date) -> None:
    path = deployment_path(config)
    deployment = read_deployment(path)
    who = os.environ.get("USER") or f"user {os.getuid()}"
    fresh = tuple(Consent(m, who, today) for m in given if all(c.matter != m for c in deployment.consent))
    if fresh:
        write_deployment(path, msgspec.structs.replace(deployment, consent=(*deployment.consent, *fresh)))


def _asked(config: Config) -> tuple[str, tuple[ConsentScope, ...]]:
    """Ask in the terminal. Raises ConsentError for a workplace or school, or when everything is refused."""
    typer.echo("edge_mer estimates emotions expressed in voice, face and words. Nothing leaves this machine.")
    if not typer.confirm("Is this a private home (no workplace, no school)?"):
        check_place("workplace")
    who = typer.prompt("Your name", default=os.environ.get("USER") or "householder")
    agreed = tuple(scope for scope, question in _questions(config) if typer.confirm(question))
    if not agreed:
        raise ConsentError("no consent given, nothing to start; run edge-mer run again to change that")
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
