"""One modality as the switch sees it: what is requested, what holds, and which confirmations are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Closed
from edge_mer.contract.domain import Gate, Modality
from edge_mer.contract.messages import PrivacyState, Receipt
from edge_mer.privacy.switch.registrations import Key

RESEND_US, SLOWEST_RESEND_US = SECOND // 20, SECOND
# What is not confirmed after this time is published.
COMPLAIN_US = SECOND


@dataclass
class ModalityGate:
    """What is requested of one modality since its last change, and which processes have not confirmed it."""

    requested: Gate
    epoch: int
    since_us: int
    reason: str | None
    requester: str
    requested_us: int
    until_us: int | None = None
    last_seq: int | None = None
    unclosed: set[Key] = field(default_factory=set)
    unpurged: set[Key] = field(default_factory=set)
    purged: set[str] = field(default_factory=set)
    checks: dict[str, str] = field(default_factory=dict)
    closed_us: int = 0
    purged_us: int = 0
    leased_until_us: int = 0
    receipt: Receipt | None = None
    unwritten: str | None = None
    write_due: int = 0
    resend_due: int = 0
    resend_us: int = RESEND_US

    @property
    def pending(self) -> bool:
        return bool(self.unclosed or self.unpurged)

    @property
    def owes_receipt(self) -> bool:
        return self.is_unproven and not self.pending

    @property
    def is_unproven(self) -> bool:
        """A mask without a receipt."""
        return self.requested != "live" and self.receipt is None

    def sent(self, now_us: int) -> None:
        """The orders went out: when to send them again, ever more slowly."""
        self.resend_due = now_us + self.resend_us
        self.resend_us = min(2 * self.resend_us, SLOWEST_RESEND_US)

    def close(self, key: Key, now_us: int, check: str) -> None:
        """A gate is closed, and this is how it is known."""
        if key in self.unclosed:
            self.unclosed.discard(key)
            self.checks[key[0]] = check
            self.closed_us = max(self.closed_us, now_us)

    def confirm(self, message: Closed) -> None:
        """The gate's own confirmation, when it is about this order and its handle is gone."""
        key = message.name, message.boot
        if message.mask_epoch >= self.epoch and message.handle_closed and key in self.unclosed:
            self.last_seq = message.last_seq
            self.close(key, message.closed_us, message.check)

    def purge(self, key: Key, now_us: int, how: str = "") -> None:
        if key in self.unpurged:
            self.unpurged.discard(key)
            self.purged.add(f"{key[0]}{f' ({how})' if how else ''}")
            self.purged_us = max(self.purged_us, now_us)

    def state(self, boottime_us: int, unconfirmed: tuple[str, ...]) -> PrivacyState:
        """``effective`` is measured: masked only once every gate has confirmed that its handle is gone, and live only
        while a gate may hold a lease."""
        effective: Gate = "live" if self.unclosed else self.requested
        if self.requested == "live" and boottime_us >= self.leased_until_us:
            effective = "masked"
        return PrivacyState(
            self.requested,
            effective,
            self.since_us,
            self.epoch,
            self.last_seq,
            self.reason,
            unconfirmed,
            self.until_us,
        )

    def complaint(self, modality: Modality, why: Callable[[Key], str]) -> list[str]:
        """Which process has not done what, as text; empty when the mask took effect and its receipt is written.

        ``why``: what is known of a process that has not confirmed."""
        complaints = [
            f"{modality}: {key[0]} did not confirm that its device is closed{why(key)}" for key in sorted(self.unclosed)
        ]
        complaints += [f"{modality}: {key[0]} did not confirm the purge{why(key)}" for key in sorted(self.unpurged)]
        if not complaints and self.requested != "live" and self.receipt is None:
            complaints = [
                f"{modality}: closed and purged, but its receipt is not written: {self.unwritten or 'not yet'}"
            ]
        return complaints

    def draft_receipt(
        self, modality: Modality, now_us: int, wall_us: int, boot_id: str, room: str, unsaved: str
    ) -> Receipt:
        """The receipt of what was confirmed; number, chain and signature are the log's. ``unsaved``: why the mask would
        not outlive a restart, empty when it would."""
        checks = [f"{name}: {how}" for name, how in sorted(self.checks.items())] or ["no process holds it"]
        if unsaved:
            checks.append(f"not durable: the state cannot be saved ({unsaved})")
        return Receipt(
            number=0,
            modality=modality,
            gate=self.requested,
            mask_epoch=self.epoch,
            requester=self.requester,
            requested_us=self.requested_us,
            closed_us=self.closed_us or now_us,
            purged_us=self.purged_us or self.closed_us or now_us,
            wall_offset_us=wall_us - now_us,
            boot_id=boot_id,
            last_seq=self.last_seq,
            purged=tuple(sorted(self.purged)),
            handle_closed=not self.unclosed,
            checks=tuple(checks),
            previous="",
            signature="",
            in_room=room,
        )
