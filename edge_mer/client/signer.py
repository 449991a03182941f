"""Signs the grants that unmasking needs, with the keys of an identity on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_mer.contract.clock import Clock
from edge_mer.contract.control import Grant
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import PrivacyState
from edge_mer.contract.people import MaskedPeople
from edge_mer.host.files import shown_state_directory
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import CONSOLE, Identity, read_identity


@dataclass(frozen=True, slots=True)
class Signer:
    """``host``: public key (hex) of the host whose switch receives the grants."""

    identity: Identity
    host: str
    clock: Clock

    def grant(self, modalities: tuple[Modality, ...], seen: Mapping[Modality, PrivacyState]) -> Grant:
        """A grant for the ``seen`` states; a later mask invalidates it."""
        epoch = max((state.mask_epoch for state in seen.values()), default=0)
        return self.identity.grant(self.host, modalities, epoch, self.clock.wall_us())

    def grant_persons(self, persons: tuple[str, ...], seen: MaskedPeople | None) -> Grant:
        """As ``grant``, for persons who are masked alone; whatever changes who is masked invalidates it."""
        epoch = seen.mask_epoch if seen is not None else 0
        return self.identity.grant(self.host, (), epoch, self.clock.wall_us(), persons)


def host_signer(state: Path, clock: Clock, name: str = CONSOLE) -> Signer:
    """A signer with the keys ``name`` in the privacy state directory. Raises PrivacyError when there are none."""
    identity, host = read_identity(state, name), public_key(state)
    if identity is None or host is None:
        raise PrivacyError(f"{state} holds no key of this {name}; edge-mer run pairs the console on its first start")
    return Signer(identity, host.public_bytes_raw().hex(), clock)


def console_signer(runtime: Path, clock: Clock) -> Signer:
    """A signer with the console's keys of the instance in ``runtime``. Raises PrivacyError without switch or keys."""
    state = shown_state_directory(runtime)
    if state is None:
        raise PrivacyError(f"the privacy switch does not run in {runtime}; run: edge-mer status")
    return host_signer(state, clock)
