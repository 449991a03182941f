"""What a home needs before anything can sense: consent on file, and this host's console as a paired key."""

from __future__ import annotations

import datetime
from pathlib import Path

from edge_mer.config import Config, is_off
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.host.files import state_directory
from edge_mer.privacy.consent.consent_file import FILE, ConsentScope, agreed, home_consent, write_deployment
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


def agreed_sources(config: Config) -> tuple[Modality, ...]:
    """The modalities that are not off, and that somebody agreed to."""

    matters = agreed(config, SystemClock().wall_us())
    return tuple(m for m in MODALITIES if m in matters and not is_off(config, m))
