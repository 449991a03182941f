"""Grants: how the switch checks a paired key's leave to unmask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_mer.contract.control import Grant
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.privacy.consent.consent_file import Deployment
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.signing import is_signed, public_from_hex


class GrantError(PrivacyError):
    """A grant opens nothing: unpaired or revoked key, forged, replayed, for another host, or too old."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a grant is held against: the mask epoch of each modality and of ``people``, the counters that each key has
    ``used``."""

    host: str
    epochs: Mapping[Modality, int]
    used: Mapping[str, int]
    people: int = 0


def check_grant(
    grant: Grant | None,
    modalities: tuple[Modality, ...],
    keyring: Keyring,
    now: Circumstances,
    persons: tuple[str, ...] = (),
) -> PairedKey:
    """The paired key that signed it. Raises GrantError saying what is wrong and what would help."""
    if grant is None:
        raise GrantError("to unmask needs a grant signed by a paired key: edge-mer unmask, or edge-mer keys pair NAME")
    paired = keyring.signer(grant.key)
    if paired is None:
        raise GrantError(keyring.fault or f"key {grant.key[:8]} is not paired with this host: edge-mer keys pair NAME")
    if not is_signed(public_from_hex(grant.key), grant):
        raise GrantError(f"this grant is not signed by the key of {paired.name}")
    if grant.host != now.host:
        raise GrantError("this grant is for another host")
    of_persons = grant.persons or ()
    if set(grant.modalities) != set(modalities) or set(of_persons) != set(persons):
        granted, wanted = ", ".join((*grant.modalities, *of_persons)), ", ".join((*modalities, *persons))
        raise GrantError(f"this grant is for {granted or 'nothing'}, not {wanted}")
    if grant.counter <= now.used.get(grant.key, -1):
        raise GrantError(f"this grant of {paired.name} was used already, or is older than one that was")
    if newer := [m for m in modalities if now.epochs[m] > grant.mask_epoch]:
        raise GrantError(f"{', '.join(newer)} was masked again after this grant was signed; ask again")
    if persons and now.people > grant.mask_epoch:
        raise GrantError("who is masked has changed after this grant was signed; ask again")
    return paired


def check_leave(paired: PairedKey, modalities: tuple[Modality, ...], deployment: Deployment) -> None:
    """Raises GrantError when the household does not let this key unmask all of these."""
    if barred := [m for m in modalities if m not in paired.may_unmask(deployment)]:
        raise GrantError(
            f"{paired.name} ({paired.role}) may not unmask {', '.join(barred)}: see hub.may_unmask in the "
            "deployment file"
        )
