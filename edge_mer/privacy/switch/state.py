"""What the switch remembers over a restart: masks, grants, epochs, the head of the receipts. Signed, atomic.

A file that is missing, cut short, changed in one bit or of another host holds nothing; see ``memory.recall``.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct, field

from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import remove, write_atomic
from edge_mer.privacy.switch.people_mask import PeopleAsked

FILE = "switch.state"
# Version 3 has a mask of single persons, which an older switch would not know; without one version 2 is written.
VERSION, WITHOUT_PEOPLE = 3, 2
SIGNATURE_BYTES = 64
# In every reason and answer that only the local button or root on this host can help.
LOCAL_CURE = "sudo edge-mer unmask"
# Epochs are used up before they are saved, so that a mask never waits for the disk.
RESERVED = 1000
STRENGTH: dict[Gate, int] = {"live": 0, "masked": 1, "hard": 2}
R = TypeVar("R", bound=Struct)


class Deadline(Struct, frozen=True):
    """When a timed mask ends: in the boot that set it both clocks must agree, later ones have wall time alone."""

    wall_us: int
    boottime_us: int
    boot_id: str


class Mask(Struct, frozen=True):
    """A mask; without ``until`` it lasts until a user unmasks.

    A hard or ``local`` mask is lifted by the local button or by root on this host only; ``by`` is its reason.
    """

    gate: Gate
    by: str
    until: Deadline | None = None
    local: bool = False


class Holding(Struct, frozen=True):
    """The grant that keeps a modality open: whose it is, and the public key that signed it ("": the local button)."""

    by: str
    key: str


class Asked(Struct, frozen=True):
    """What was asked of one modality. A timed mask stands before a grant and leaves it in place."""

    mask: Mask | None = None
    holding: Holding | None = None


class SwitchState(Struct, frozen=True):
    """What is saved, at ``wall_us``. ``epoch``: none up to it may be used again. ``mask_epoch``: the newest until then.

    ``receipts`` and ``head``: how many receipts there are, and the hash of the last. ``grants``: the number of the file
    of used grant counters. ``used``: these counters, in files of version 1 only. ``people``: who is masked alone.
    """

    epoch: int
    wall_us: int
    asked: dict[Modality, Asked] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    receipts: int = 0
    head: str = ""
    version: int = 1
    mask_epoch: int = 0
    grants: int = 0
    people: PeopleAsked = PeopleAsked()


class StateFile:
    def __init__(self, directory: Path, key: Ed25519PrivateKey) -> None:
        self.path = directory / FILE
        self._key = key

    def load(self) -> SwitchState:
        return read_state(self.path, self._key.public_key())

    def save(self, state: SwitchState) -> None:
        """Raises OSError when the disk does. Then a file stays only if it opens nothing that ``state`` does not."""
        try:
            write_signed(self.path, self._key, state)
        except OSError:
            if not self._is_as_strict_as(state):
                with suppress(OSError):
                    remove(self.path)
            raise

    def _is_as_strict_as(self, state: SwitchState) -> bool:
        """Whether the file on the disk, the old or the new, masks at least what ``state`` does."""
        try:
            saved = self.load()
        except (OSError, PrivacyError):
            return False
        found = saved.asked
        return saved.people.covers(state.people) and all(
            strictness(found.get(m, Asked())) >= strictness(state.asked.get(m, Asked())) for m in MODALITIES
        )


def strictness(asked: Asked) -> tuple[int, bool, float, bool]:
    """Orders what may be asked of a modality by how little it opens now and later."""
    mask = asked.mask
    if mask is None:
        return 0, False, 0, asked.holding is None
    return STRENGTH[mask.gate], mask.local, mask.until.wall_us if mask.until else inf, asked.holding is None


def read_state(path: Path, key: Ed25519PublicKey) -> SwitchState:
    """Raises PrivacyError when it is not exactly what this host's switch wrote, FileNotFoundError without one."""
    state = read_signed(path, key, SwitchState)
    if state.version > VERSION:
        raise PrivacyError(f"{path} was written by a newer edge_mer (version {state.version}, known: {VERSION})")
    if state.version == 1:
        return msgspec.structs.replace(state, mask_epoch=max(0, state.epoch - RESERVED))
    return state


def write_signed(path: Path, key: Ed25519PrivateKey, record: Struct) -> None:
    """Replace a file by a signed record. Raises OSError when the disk does."""
    data = msgspec.json.encode(record)
    write_atomic(path, key.sign(data) + data)


def read_signed(path: Path, key: Ed25519PublicKey, type_: type[R]) -> R:
    """Raises PrivacyError when the file is not what this host's switch wrote, FileNotFoundError without one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror}") from error
    try:
        key.verify(data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:])
        return msgspec.json.decode(data[SIGNATURE_BYTES:], type=type_)
    except (InvalidSignature, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PrivacyError(f"{path} is damaged") from error
