"""What a home needs before anything can sense: consent on file, and this host's console as a paired key."""

from __future__ import annotations

import datetime
from pathlib import Path

from msgspec.structs import replace

from edge_mer.config import Config, is_off
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.host.files import state_directory
from edge_mer.privacy.consent.consent_file import (
    FILE,
    ConsentScope,
    agreed,
    home_consent,
    read_deployment,
    write_deployment,
)
from edge_mer.privacy.keys.identity import CONSOLE, Identity, new_identity, read_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey


def pair_console(directory: Path, today: datetime.date) -> Identity:
    """This host's own keys, made and paired where they are not yet. Raises PrivacyError when they are damaged."""
    identity = read_identity(directory) or new_identity(directory, CONSOLE)
    keyring = Keyring(directory)
    if keyring.signer(identity.signing) is None:
        keyring.add(PairedKey(CONSOLE, "console", identity.signing, identity.content.curve_public, today.isoformat()))
    return identity


def agree(
    state: str | None,
    matters: tuple[ConsentScope, ...],
    who: str | None,
    today: datetime.date,
    until: datetime.date | None = None,
) -> Path:
    """Write that one person agrees to ``matters`` in this home, and pair the console; returns the state directory."""
    directory = state_directory(state)
    write_deployment(directory / FILE, home_consent(who, matters, today, until))
    pair_console(directory, today)
    return directory


def give(
    directory: Path,
    matters: tuple[ConsentScope, ...],
    who: str | None,
    today: datetime.date,
    until: datetime.date | None = None,
) -> None:
    """Add one person's consent to what is on file, in place of what that person agreed to before; pair the console.

    What others agreed to stays. Raises ConsentError where the file is damaged or about another place than a home.
    """
    fresh, path = home_consent(who, matters, today, until), directory / FILE
    if path.exists():
        deployment = read_deployment(path)
        replaced = {(c.matter, c.who) for c in fresh.consent}
        kept = tuple(c for c in deployment.consent if (c.matter, c.who) not in replaced)
        fresh = replace(deployment, consent=(*kept, *fresh.consent))
    write_deployment(path, fresh)
    pair_console(directory, today)


def withdraw(directory: Path, matters: tuple[ConsentScope, ...], who: str | None = None) -> None:
    """Remove consent to ``matters``: of one person, or of everybody. Raises ConsentError without a file."""
    deployment = read_deployment(directory / FILE)
    kept = tuple(c for c in deployment.consent if c.matter not in matters or (who is not None and c.who != who))
    write_deployment(directory / FILE, replace(deployment, consent=kept))


def agreed_sources(config: Config) -> tuple[Modality, ...]:
    """The modalities that are not off, and that somebody agreed to."""
    matters = agreed(config, SystemClock().wall_us())
    return tuple(m for m in MODALITIES if m in matters and not is_off(config, m))
