"""What the switch remembers over a restart: masks, grants, counters, the head of the receipts. Signed, atomic.

A file that is missing, cut short, changed in one bit or of another host holds nothing: then everything is masked.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct, field

from edge_mer.contract.domain import Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import write_atomic

FILE = "switch.state"
SIGNATURE_BYTES = 64


class Deadline(Struct, frozen=True):
    """When a timed mask ends: in the boot that set it both clocks must agree, later ones have wall time alone."""

    wall_us: int
    boottime_us: int
    boot_id: str


class Mask(Struct, frozen=True):
    """A mask that somebody asked for; without ``until`` it lasts until somebody unmasks."""

    gate: Gate
    by: str
    until: Deadline | None = None


class Holding(Struct, frozen=True):
    """The grant that keeps a modality open: whose it is, and the public key that signed it ("": the local button)."""

    by: str
    key: str


class Asked(Struct, frozen=True):
    """What was asked of one modality. A timed mask stands before a grant and leaves it in place."""

    mask: Mask | None = None
    holding: Holding | None = None


class SwitchState(Struct, frozen=True):
    """``epoch``: no mask epoch up to it may be used again. ``used``: the highest counter of each key, ever.

    ``receipts`` and ``head``: how many receipts there are, and the hash of the last. ``wall_us``: when it was written.
    """

    epoch: int
    wall_us: int
    asked: dict[Modality, Asked] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    receipts: int = 0
    head: str = ""


class StateFile:
    def __init__(self, directory: Path, key: Ed25519PrivateKey) -> None:
        self.path = directory / FILE
        self._key = key

    def load(self) -> SwitchState:
        return read_state(self.path, self._key.public_key())

    def save(self, state: SwitchState) -> None:
        """Raises OSError when the disk does. Then no file stays, for it would tell of the past as if it held."""
        data = msgspec.json.encode(state)
        try:
            write_atomic(self.path, self._key.sign(data) + data)
        except OSError:
            with suppress(OSError):
                self.path.unlink()
            raise


def read_state(path: Path, key: Ed25519PublicKey) -> SwitchState:
    """Raises PrivacyError when it is not exactly what this host's switch wrote, FileNotFoundError without one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror}") from error
    try:
        key.verify(data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:])
        return msgspec.json.decode(data[SIGNATURE_BYTES:], type=SwitchState)
    except (InvalidSignature, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PrivacyError(f"{path} is damaged") from error
