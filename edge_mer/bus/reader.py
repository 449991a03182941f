"""Reader of latest topics: drains, checks, counts gaps, and raises on stale messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from edge_mer.contract import wire
from edge_mer.contract.clock import Clock
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import BadMessage, Stale
from edge_mer.contract.messages import Message
from edge_mer.contract.services import SERVICES

# Sources of one topic whose sequence is followed; normally there is one.
MOST_SOURCES: Final = 64


class Reader:
    """Reads some topics of the table. Received data never raises: bad messages are dropped and counted.

    ``counters``: ``bad`` (corrupt, truncated, oversized, foreign), ``gap`` (missing sequence numbers), ``old``
    (repeated or reordered sequence numbers), ``masked`` (from before the current mask epoch).
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        clock: Clock,
        receive: Callable[[], list[bytes] | None],
        close: Callable[[], None],
    ) -> None:
        self.topics = topics
        self.counters: Counter[str] = Counter()
        self._clock, self._receive, self.close = clock, receive, close
        self._rows = {t.encode(): SERVICES[t] for t in topics}
        self._newest: dict[str, Message[Any]] = {}
        self._next: dict[tuple[str, str], tuple[str, int]] = {}
        self._epochs: dict[Modality, int] = {}
        self._limit = 2 * sum(SERVICES[t].high_water_mark for t in topics)

    def require_epoch(self, modality: Modality, mask_epoch: int) -> None:
        """Drop everything of ``modality`` from below ``mask_epoch`` from now on, the newest message included."""
        self._epochs[modality] = max(mask_epoch, self._epochs.get(modality, 0))
        self._newest = {t: m for t, m in self._newest.items() if not self._is_masked(m)}

    def drain(self) -> list[Message[Any]]:
        """All valid messages since the last call, in order of arrival."""
        fresh: list[Message[Any]] = []
        for _ in range(self._limit):
            frames = self._receive()
            if frames is None:
                break
            if (message := self._check(frames)) is not None:
                self._newest[message.topic] = message
                fresh.append(message)
        return fresh

    def read_latest(self, topic: str, max_age_us: int) -> Message[Any]:
        """The newest message of ``topic``. Raises Stale when it is older than ``max_age_us``, or when there is none."""
        self.drain()
        message = self._newest.get(topic)
        if message is None:
            raise Stale(f"{topic}: nothing received yet; is its worker running? (edge-mer status)")
        age = self._clock.now_us() - message.envelope.created_us
        if age > max_age_us:
            raise Stale(f"{topic}: newest message is {age / 1e6:.2f} s old, at most {max_age_us / 1e6:.2f} s allowed")
        return message

    def _check(self, frames: list[bytes]) -> Message[Any] | None:
        row = self._rows.get(frames[0]) if frames else None
        if row is None:
            self.counters["bad"] += 1
            return None
        try:
            message: Message[Any] = wire.decode(row.topic, row.body, row.version, row.max_bytes, frames)
        except BadMessage:
            self.counters["bad"] += 1
            return None
        if not self._in_sequence(message):
            return None
        if self._epochs and self._is_masked(message):
            self.counters["masked"] += 1
            return None
        return message

    def _in_sequence(self, message: Message[Any]) -> bool:
        envelope = message.envelope
        key = (message.topic, envelope.source)
        boot, expected = self._next.get(key, (envelope.boot, envelope.seq))
        if boot == envelope.boot and envelope.seq < expected:
            self.counters["old"] += 1
            return False
        if boot == envelope.boot and envelope.seq > expected:
            self.counters["gap"] += envelope.seq - expected
        self._next[key] = (envelope.boot, envelope.seq + 1)
        if len(self._next) > MOST_SOURCES * len(self.topics):
            del self._next[next(iter(self._next))]
        return True

    def _is_masked(self, message: Message[Any]) -> bool:
        modality = SERVICES[message.topic].modality
        epoch = getattr(message.body, "mask_epoch", None)
        return modality is not None and epoch is not None and epoch < self._epochs.get(modality, 0)
