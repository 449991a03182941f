"""Leases: the switch's leave to keep a device open, and how a gate checks it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Lease
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import LeaseError
from edge_mer.privacy.keys.signing import is_signed

LONGEST_US = 10 * SECOND


class ForgedLease(LeaseError):
    """The signature is not by this host's key over these fields."""


class ForeignLease(LeaseError):
    """Signed, but for another boot, holder or modality."""


class ReplayedLease(LeaseError):
    """An older lease than one that was already used, or from before the last mask."""


class ExpiredLease(LeaseError):
    """Its time is over, has not begun, or is longer than any lease may be."""


def holder_name(name: str, boot: str) -> str:
    """A lease belongs to one life of one process."""
    return f"{name}/{boot}"


def in_force(lease: Lease, clock: Clock) -> bool:
    """Whether now is within the lease, on CLOCK_BOOTTIME: time asleep counts, wall clock jumps do not."""
    return lease.issued_us <= clock.boottime_us() < lease.expires_us


class LeaseVerifier:
    """Checks leases for one modality of one process. What it accepted, and nothing older, counts from then on."""

    def __init__(self, key: Ed25519PublicKey, modality: Modality, holder: str, boot_id: str, clock: Clock) -> None:
        self._key, self._modality, self._holder = key, modality, holder
        self._boot_id, self._clock = boot_id, clock
        self._counter = -1
        self._epoch = 0

    def require_epoch(self, mask_epoch: int) -> None:
        """Leases from before this mask epoch are void from now on."""
        self._epoch = max(self._epoch, mask_epoch)

    def accept(self, lease: Lease) -> None:
        """Raises ForgedLease, ForeignLease, ReplayedLease or ExpiredLease, saying which field is wrong."""
        self._check_signature(lease)
        self._check_place(lease)
        self._check_order(lease)
        self._check_time(lease)
        self._counter, self._epoch = lease.counter, lease.mask_epoch

    def _check_signature(self, lease: Lease) -> None:
        if not is_signed(self._key, lease):
            raise ForgedLease(f"{lease.modality}: lease is not signed by this host's key")

    def _check_place(self, lease: Lease) -> None:
        for what, found, expected in (
            ("boot id", lease.boot_id, self._boot_id),
            ("holder", lease.holder, self._holder),
            ("modality", lease.modality, self._modality),
        ):
            if found != expected:
                raise ForeignLease(f"{self._modality}: lease is for {what} {found!r}, not {expected!r}")

    def _check_order(self, lease: Lease) -> None:
        if lease.counter <= self._counter:
            raise ReplayedLease(f"{lease.modality}: lease {lease.counter} is not newer than {self._counter}")
        if lease.mask_epoch < self._epoch:
            raise ReplayedLease(f"{lease.modality}: lease of mask epoch {lease.mask_epoch}, now {self._epoch}")

    def _check_time(self, lease: Lease) -> None:
        now = self._clock.boottime_us()
        if not in_force(lease, self._clock):
            raise ExpiredLease(f"{lease.modality}: lease of {lease.issued_us}..{lease.expires_us} us, now {now} us")
        if lease.expires_us - lease.issued_us > LONGEST_US:
            raise ExpiredLease(f"{lease.modality}: lease is longer than {LONGEST_US // SECOND} s")
