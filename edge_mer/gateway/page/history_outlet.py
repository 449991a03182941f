"""Keeps the history in the page's process: counts public estimates and writes them once a minute.

Without the consent ``history`` in the deployment file nothing is counted or written. What is counted and not yet
written is dropped at a mask, and after an erasure.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import replace

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.recognisers import is_from_microphone
from edge_mer.gateway.outlet import Outlet, OutletBus
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.history.erasures import Erasure
from edge_mer.history.fold import Counting, step
from edge_mer.history.shares import HourShares, shares_of
from edge_mer.history.store import history_store
from edge_mer.privacy.consent.consent_file import HISTORY, agreed

NAME = "history"
WRITE_US = 60 * SECOND
log = logging.getLogger(NAME)


class HistoryOutlet(Outlet):
    """``is_on``: there is consent to a history."""

    name = NAME
    topics = ("emotion", "clock")

    def __init__(self, config: Config, bus: OutletBus) -> None:
        self._config, self._clock = config, bus.clock
        self._store = history_store(config)
        self._hop_ms = round(1000 * config.fusion.hop_s)
        self._transcribed = is_from_microphone(config.text.source, config.text.engine)
        self._counting, self._offset_us = Counting(), 0
        self._erased = self._store.erased_version
        self._note = ""
        self.is_on = HISTORY in agreed(config, self._clock.wall_us())
        self._due_us = self._clock.now_us() + WRITE_US

    def publish(self, message: PublicMessage) -> None:
        if message.topic == "clock":
            self._offset_us = message.body.offset_us
        elif self.is_on and self._offset_us:
            envelope = message.envelope
            self._counting = step(
                self._counting, message.body, envelope.boot, envelope.origin_us, self._offset_us, self._hop_ms
            )

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        kept = {start: hour.without(modalities) for start, hour in self._counting.hours.items()}
        self._counting = replace(self._counting, hours=kept)

    def after(self, now_us: int) -> None:
        if now_us >= self._due_us:
            self._due_us = now_us + WRITE_US
            self.write()

    @property
    def notes(self) -> tuple[str, ...]:
        return (self._note,) if self._note else ()

    def close(self) -> None:
        self.write()

    def write(self) -> None:
        """Write what was counted, and erase what is too old. After an erasure by a command, what was counted before is
        dropped."""
        self.is_on = HISTORY in agreed(self._config, self._clock.wall_us())
        hours = self._counting.hours
        self._counting = replace(self._counting, hours={})
        try:
            if self.is_on and hours and self._erased == self._store.erased_version:
                self._store.add(hours, self._transcribed)
            self._store.expire(self._config.history.keep_days, self._clock.wall_us())
            self._note = ""
        except (OSError, EdgeMerError) as error:
            self._note = f"the history is not kept: {error}"
            log.error("%s", self._note)
        self._erased = self._store.erased_version

    def hours(self, first: datetime.date, last: datetime.date) -> list[HourShares]:
        """The hours of these days. Raises OSError, EdgeMerError for files that cannot be read."""
        return [shares_of(read) for read in self._store.read(first, last)]

    def erase(self, what: str, requester: str) -> Erasure:
        """A day (YYYY-MM-DD) or a modality. Raises PrivacyError when there is nothing of it, OSError."""
        self._counting = replace(self._counting, hours={})
        erasure = self._store.erase(what, requester, self._clock.wall_us())
        self._erased = self._store.erased_version
        return erasure
