"""One modality as the switch sees it: what is asked, what holds, and who has yet to confirm."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_mer.clock import SECOND
from edge_mer.domain import Gate, Modality
from edge_mer.messages import PrivacyState

RESEND_US, SLOWEST_RESEND_US = SECOND // 20, SECOND


@dataclass
class Channel:
    """What is asked of one modality since its last change, and who has yet to confirm it."""

    requested: Gate
    epoch: int
    since_us: int
    reason: str | None
    last_seq: int | None = None
    unclosed: set[str] = field(default_factory=set)
    unpurged: set[str] = field(default_factory=set)
    resend_due: int = 0
    resend_us: int = RESEND_US

    @property
    def pending(self) -> bool:
        return bool(self.unclosed or self.unpurged)

    def sent(self, now_us: int) -> None:
        """The orders went out: when to send them again, ever more slowly."""
        self.resend_due = now_us + self.resend_us
        self.resend_us = min(2 * self.resend_us, SLOWEST_RESEND_US)

    @property
    def state(self) -> PrivacyState:
        """``effective`` is measured: masked only once every gate has confirmed that its handle is gone."""
        effective = "live" if self.unclosed else self.requested
        return PrivacyState(self.requested, effective, self.since_us, self.epoch, self.last_seq, self.reason)

    def complaint(self, modality: Modality) -> list[str]:
        """Who has not done what, in words for people; empty when the change took effect."""
        closed = [f"{modality}: {name} did not confirm that its device is closed" for name in sorted(self.unclosed)]
        return closed + [f"{modality}: {name} did not confirm the purge" for name in sorted(self.unpurged)]
