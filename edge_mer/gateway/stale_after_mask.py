"""Estimates, and why they say so, from before a mask that are still under way: whoever hands them on must not."""

from __future__ import annotations

from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Explain, Message

# By then fusion has forgotten too, or has been replaced. For ever would be wrong: a fusion that starts anew knows only
# the epochs of sensors that run, and they may all be older than the newest.
CONFIRMED_US = 3 * SECOND


class StaleAfterMask:
    """Told of every order to forget."""

    def __init__(self) -> None:
        self._epoch = self._until_us = 0

    def order(self, mask_epoch: int, now_us: int) -> None:
        if mask_epoch > self._epoch:
            self._epoch, self._until_us = mask_epoch, now_us + CONFIRMED_US

    def has(self, message: Message[Any]) -> bool:
        """Whether it is such an estimate or explanation."""
        body = message.body
        is_old = isinstance(body, Estimate | Explain) and body.mask_epoch < self._epoch
        return is_old and message.envelope.created_us < self._until_us
