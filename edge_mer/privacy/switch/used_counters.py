"""Which grants were used: the highest counter of each key, in a signed file of its own, ``grants.state``.

It is written before a grant takes effect. While it is lost, damaged or older than the switch's state, a used grant
could pass for a new one, so no grant opens anything until the local button or root on this host unmasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from edge_mer.contract.errors import PrivacyError
from edge_mer.privacy.switch.state import LOCAL_CURE, read_signed, write_signed

FILE = "grants.state"


class Counters(Struct, frozen=True, tag="grants"):
    """``number`` grows with every write. ``epoch``: no mask epoch up to it may be used again."""

    number: int
    epoch: int
    used: dict[str, int]


class UsedCounters:
    """``used``: the highest counter per key. ``fault``: why no grant may open anything, empty when one may."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey) -> None:
        self.path = directory / FILE
        self.used: dict[str, int] = {}
        self.number = self.epoch = 0
        self.fault = ""
        self._key, self._changed = key, True

    def load(self, least_number: int) -> None:
        """``least_number``: the number that the switch's state knows; a file with a smaller one was rolled back."""
        try:
            found = read_signed(self.path, self._key.public_key(), Counters)
        except FileNotFoundError:
            self.number, self.fault = least_number, f"{self.path} is missing"
            return
        except PrivacyError as error:
            self.number, self.fault = least_number, str(error)
            return
        self.used, self.number, self.epoch = dict(found.used), max(found.number, least_number), found.epoch
        if found.number < least_number:
            self.fault = f"{self.path} is an older copy (number {found.number}, the switch wrote {least_number})"

    def adopt(self, used: Mapping[str, int]) -> None:
        """Counters of a state file of version 1, beside which there need be no file of counters."""
        self.used = {key: max(used.get(key, -1), self.used.get(key, -1)) for key in {**used, **self.used}}
        if not self.path.exists():
            self.fault = ""

    def check(self) -> None:
        """Raises PrivacyError while no grant may open anything; it says what would help."""
        if self.fault:
            raise PrivacyError(
                f"used grants cannot be told from new ones ({self.fault}), so no grant opens anything until the local "
                f"button or root on this host unmasks: {LOCAL_CURE} all"
            )

    def use(self, key: str, counter: int) -> None:
        """From now on only greater counters of this key count; ``save`` makes it last."""
        self.used[key] = counter
        self._changed = True

    def trust(self) -> None:
        """The local button or root on this host has unmasked: what is known is believed again."""
        if self.fault:
            self.fault, self._changed = "", True

    def save(self, epoch: int) -> None:
        """Write what changed. Raises OSError when the disk does. A fault is kept, not written over."""
        if not self._changed or self.fault:
            return
        write_signed(self.path, self._key, Counters(self.number + 1, epoch, self.used))
        self.number, self.epoch, self._changed = self.number + 1, epoch, False
