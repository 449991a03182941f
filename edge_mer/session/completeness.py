"""Checks whether a session can be verified: the journal has no gap, and all its inputs were recorded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection

from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import InputRef, Journal, Message
from edge_mer.fusion.journal import purged_inputs

PENDING_LIMIT = 10_000
# A recorder that joins receives every sensor within this time; earlier inputs of fusion may be missing.
JOIN_US = 2 * SECOND


class Sequences:
    """A set of sequence numbers that mostly grow by one, kept as ranges."""

    def __init__(self) -> None:
        self._ranges: list[list[int]] = []

    def add(self, seq: int) -> None:
        if self._ranges and self._ranges[-1][1] == seq - 1:
            self._ranges[-1][1] = seq
        elif seq not in self:
            self._ranges.append([seq, seq])

    def __contains__(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in reversed(self._ranges))


class Completeness:
    """``recorded`` and ``entry`` are called for what goes into the file; ``unverifiable`` names what is missing.

    ``joined_us``: when the recording joined a running fusion node; None when it started before fusion.
    ``lost``: topics that cannot be decrypted here, and are not checked.
    """

    def __init__(self, joined_us: int | None = None, lost: Collection[str] = ()) -> None:
        self.entries = 0
        self.results = 0
        self.unverifiable: str | None = None
        self._complete_us = None if joined_us is None else joined_us + JOIN_US
        self._lost = frozenset(lost)
        self._digest, self._journal = hashlib.sha256(), hashlib.sha256()
        self._recorded: defaultdict[tuple[str, str, str], Sequences] = defaultdict(Sequences)
        self._wanted: dict[InputRef, int] = {}
        self._boot, self._next = "", 0
        self._instances = 0

    @property
    def digest(self) -> str:
        """``messages.digest`` of all result digests so far, one a line."""
        return self._digest.hexdigest()[:32]

    @property
    def journal(self) -> str:
        """``messages.digest`` of all journal headers so far."""
        return self._journal.hexdigest()[:32]

    def recorded(self, ref: InputRef) -> None:
        self._recorded[ref.topic, ref.source, ref.boot].add(ref.seq)
        self._wanted.pop(ref, None)

    def entry(self, message: Message[Journal]) -> None:
        body, boot = message.body, message.envelope.boot
        before = self._follow(boot, body)
        self._journal.update(message.header)
        purged = purged_inputs(body.inputs)
        for ref in () if before else body.inputs:
            if not isinstance(ref, InputRef) or ref in purged or ref.topic in self._lost:
                continue
            if ref.seq not in self._recorded[ref.topic, ref.source, ref.boot]:
                self._want(ref, body.entry)
        for result in body.results:
            self._digest.update(f"\n{result}".encode() if self.results else result.encode())
            self.results += 1
        self.entries += 1

    def close(self) -> None:
        """An input may arrive shortly after the entry that names it; one that has not arrived by now is missing."""
        if self._wanted:
            ref, entry = next(iter(self._wanted.items()))
            count = len(self._wanted)
            self._mark_unverifiable(
                f"{count} inputs of the journal were not recorded, first {name(ref)} of entry {entry}"
            )
        elif not self.entries:
            self._mark_unverifiable("no journal was recorded; was the fusion node running?")

    def _follow(self, boot: str, body: Journal) -> bool:
        """Whether the entry is from before the recording was complete."""
        if boot != self._boot:
            self._boot, self._next = boot, 0
            self._instances += 1
        before = self._instances == 1 and self._complete_us is not None and body.tick_us <= self._complete_us
        if body.entry != self._next and not before:
            self._mark_unverifiable(
                f"journal entry {body.entry} of fusion {boot} follows a gap: expected entry {self._next}"
            )
        self._next = body.entry + 1
        return before

    def _want(self, ref: InputRef, entry: int) -> None:
        if len(self._wanted) < PENDING_LIMIT:
            self._wanted.setdefault(ref, entry)

    def _mark_unverifiable(self, reason: str) -> None:
        self.unverifiable = self.unverifiable or reason


def name(ref: InputRef) -> str:
    """``feature/audio 12 (perception.audio, 3f2a...)``."""
    return f"{ref.topic} {ref.seq} ({ref.source}, {ref.boot})"
