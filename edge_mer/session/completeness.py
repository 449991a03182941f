"""Whether a session can be verified: follows the journal, and which of its inputs were recorded."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection

from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import InputRef, Journal, Message
from edge_mer.fusion.journal import purged_inputs

PENDING_LIMIT = 10_000
# A recorder that joins hears every sensor within this; what fusion folded before cannot all be there.
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


class Ledger:
    """``recorded`` and ``entry`` take what goes into the file; ``unverifiable`` says what is missing.

    ``joined_us`` is where a recording begins that joined a running fusion node; None when it was there first.
    ``lost``: topics that nobody can read here, so that nothing is known of them.
    """

    def __init__(self, joined_us: int | None = None, lost: Collection[str] = ()) -> None:
        self.entries = 0
        self.results = 0
        self.unverifiable: str | None = None
        self._complete_us = None if joined_us is None else joined_us + JOIN_US
        self._lost = frozenset(lost)
        self._digest, self._journal = hashlib.sha256(), hashlib.sha256()
        self._have: defaultdict[tuple[str, str, str], Sequences] = defaultdict(Sequences)
        self._wanted: dict[InputRef, int] = {}
        self._life, self._next = "", 0
        self._lives = 0

    @property
    def digest(self) -> str:
        """``messages.digest`` of all result digests so far, one a line."""
        return self._digest.hexdigest()[:32]

    @property
    def journal(self) -> str:
        """``messages.digest`` of all journal headers so far."""
        return self._journal.hexdigest()[:32]

    def recorded(self, ref: InputRef) -> None:
        self._have[ref.topic, ref.source, ref.boot].add(ref.seq)
        self._wanted.pop(ref, None)

    def entry(self, message: Message[Journal]) -> None:
        body, boot = message.body, message.envelope.boot
        before = self._follow(boot, body)
        self._journal.update(message.header)
        undone = purged_inputs(body.inputs)
        for ref in () if before else body.inputs:
            if not isinstance(ref, InputRef) or ref in undone or ref.topic in self._lost:
                continue
            if ref.seq not in self._have[ref.topic, ref.source, ref.boot]:
                self._want(ref, body.entry)
        for result in body.results:
            self._digest.update(f"\n{result}".encode() if self.results else result.encode())
            self.results += 1
        self.entries += 1

    def close(self) -> None:
        """Inputs may arrive a little after the entry that names them; at the end they are missing."""
        if self._wanted:
            ref, entry = next(iter(self._wanted.items()))
            count = len(self._wanted)
            self._spoil(f"{count} inputs of the journal were not recorded, first {name(ref)} of entry {entry}")
        elif not self.entries:
            self._spoil("no journal was recorded; was the fusion node running?")

    def _follow(self, boot: str, body: Journal) -> bool:
        """Whether the entry is from before the recording was complete."""
        if boot != self._life:
            self._life, self._next = boot, 0
            self._lives += 1
        before = self._lives == 1 and self._complete_us is not None and body.tick_us <= self._complete_us
        if body.entry != self._next and not before:
            self._spoil(f"journal entry {body.entry} of life {boot} came where {self._next} was due")
        self._next = body.entry + 1
        return before

    def _want(self, ref: InputRef, entry: int) -> None:
        if len(self._wanted) < PENDING_LIMIT:
            self._wanted.setdefault(ref, entry)

    def _spoil(self, reason: str) -> None:
        self.unverifiable = self.unverifiable or reason


def name(ref: InputRef) -> str:
    """``feature/audio 12 (perception.audio, 3f2a...)``."""
    return f"{ref.topic} {ref.seq} ({ref.source}, {ref.boot})"
