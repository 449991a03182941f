"""Detects what was derived before a mask and arrives after it; it must not be forwarded."""

from __future__ import annotations

from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.house import Voice
from edge_mer.contract.messages import Estimate, EventChange, Explain, Message, People

# After this time fusion has deleted its data too, or was replaced. The limit is needed because a restarted fusion knows
# only the epochs of running sensors, and all of them may be older than the newest.
CONFIRMED_US = 3 * SECOND


class StaleAfterMask:
    """``record_mask`` is called for every purge."""

    def __init__(self) -> None:
        self._epoch = self._until_us = self._voice_epoch = 0

    def record_mask(self, mask_epoch: int, now_us: int, voice: bool = False) -> None:
        """``voice``: it is one of the microphone."""
        if voice:
            self._voice_epoch = max(self._voice_epoch, mask_epoch)
        if mask_epoch > self._epoch:
            self._epoch, self._until_us = mask_epoch, now_us + CONFIRMED_US

    def is_stale(self, message: Message[Any]) -> bool:
        """Whether the message is from before the last mask: an estimate, event, explanation, view of people or level of
        voice."""
        body = message.body
        if isinstance(body, Voice):
            return body.mask_epoch < self._voice_epoch
        is_old = isinstance(body, Estimate | EventChange | Explain | People) and body.mask_epoch < self._epoch
        return is_old and message.envelope.created_us < self._until_us
