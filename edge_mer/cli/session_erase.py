"""``edge-mer session erase FILE --modality M``: destroy the key of a modality, which makes every copy unreadable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, modalities
from edge_mer.config import load
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import SessionError
from edge_mer.contract.recognisers import is_from_microphone
from edge_mer.session.keys import erased_with, key_store
from edge_mer.session.reader import Session

KNOWN = f"{', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}"


def erase(
    file: Annotated[Path, typer.Argument(help="session file or any copy: all have the same key")],
    modality: Annotated[list[str], typer.Option("--modality", help=f"{KNOWN}; may be repeated")],
    config: ConfigFile = None,
) -> None:
    """Destroy the keys of modalities, which cannot be undone.

    A transcript is erased together with the microphone it was made from.
    """
    asked = modalities(modality)
    keys = key_store(load(config)[0])
    session = Session(file, keys)
    if session.opening is None:
        raise SessionError(f"{file}: its opening record is damaged, so its keys are unknown; delete the file")
    doomed = dict.fromkeys(m for a in asked for m in erased_with(a, transcribed(session)))
    there = [m for m in doomed if keys.erase(session.opening.session, m)]
    for name in doomed:
        already = keys.erased_at(session.opening.session, name) is not None
        if name in there:
            typer.echo(f"{name}: its key is destroyed; no copy can be read any more")
        elif name in session.sealed:
            typer.echo(f"{name}: " + ("was erased before" if already else "its key is not on this host"))
        elif any(t.endswith(f"/{name}") and not t.startswith("state") for t in session.topics):
            raise SessionError(
                f"{name} is not sealed in {file} (record.encrypt was off, or it is an unsealed copy); "
                "delete the file to erase it"
            )
        else:
            typer.echo(f"{name}: was not recorded")
    if there:
        typer.echo("estimates made with it stay in the file as results; replay and export recompute them without it")


def transcribed(session: Session) -> bool:
    """Whether its text came from the microphone, by the configuration or by the text messages themselves."""
    text = session.opening.config.get("text", {}) if session.opening is not None else {}
    made = is_from_microphone(text.get("source", ""), text.get("engine", ""))
    return made or any(m.body.biometric for m in session.messages("feature/text"))
