"""The journal of the house: what the fold took in, in order. With it, the rooms' sessions give the same again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from edge_mer.contract.domain import LETTER
from edge_mer.contract.errors import SessionError
from edge_mer.contract.house import VOICE_STEP_US, Binding, HeardVoice, RoomInput, RoomPurge, Voice
from edge_mer.contract.messages import Estimate, InputRef, Message, digest
from edge_mer.gateway.house import binding
from edge_mer.gateway.house.binding import LAG, Input, Levels, Purged, RoomEstimate

Lookup = Callable[[str, InputRef], Message[Any] | None]


def folded(given: RoomInput, message: Message[Any]) -> Input | None:
    """What the fold takes of a message; None where it is of no use to it."""
    body, at_us = message.body, message.envelope.origin_us + given.offset_us
    if isinstance(body, Voice):
        lag = LAG + -(-given.uncertainty_us // VOICE_STEP_US)
        return Levels(given.room, round(at_us / VOICE_STEP_US), body.levels, lag)
    if isinstance(body, Estimate) and body.is_current and LETTER["audio"] in body.combination:
        return RoomEstimate(given.room, at_us // VOICE_STEP_US, body.label)
    return None


def digests(voices: Iterable[HeardVoice]) -> tuple[str, ...]:
    return tuple(digest(msgspec.json.encode(v, order="sorted")) for v in voices)


class Journalled:
    """The fold with its journal. Inputs that come between two ticks are folded at the next one, in their order."""

    def __init__(self) -> None:
        self.fold = binding.Binding()
        self._inputs: list[RoomInput | RoomPurge] = []
        self._folded: list[Input] = []
        self._entry, self._chain = 0, ""

    def take(self, given: RoomInput, message: Message[Any]) -> None:
        if (found := folded(given, message)) is not None:
            self._inputs.append(given)
            self._folded.append(found)

    @property
    def held(self) -> int:
        """Inputs that wait for the next tick."""
        return len(self._inputs)

    def purge(self, room: str) -> None:
        """Also what of this room is not folded yet."""
        kept = [n for n, i in enumerate(self._folded) if i.room != room]
        self._inputs, self._folded = [self._inputs[n] for n in kept], [self._folded[n] for n in kept]
        self._inputs.append(RoomPurge(room))
        self._folded.append(Purged(room))

    def tick(self, now_us: int) -> tuple[tuple[HeardVoice, ...], Binding]:
        voices = self.fold.step(now_us // VOICE_STEP_US, tuple(self._folded))
        entry = Binding(
            entry=self._entry, tick_us=now_us, inputs=tuple(self._inputs), results=digests(voices), chain=self._chain
        )
        self._entry, self._chain = self._entry + 1, chained(entry)
        self._inputs, self._folded = [], []
        return voices, entry


def chained(entry: Binding) -> str:
    return digest(msgspec.json.encode(entry))


def refold(entries: Sequence[Binding], lookup: Lookup) -> list[HeardVoice]:
    """Fold a journal again, from its entry 0. Raises SessionError for the first thing that is missing or differs."""
    fold, found, chain = binding.Binding(), list[HeardVoice](), ""
    for number, entry in enumerate(entries):
        if entry.entry != number or entry.chain != chain:
            raise SessionError(f"entry {number} of the house's journal is missing, changed or out of order")
        inputs: list[Input] = []
        for given in entry.inputs:
            if isinstance(given, RoomPurge):
                inputs.append(Purged(given.room))
                continue
            message = lookup(given.room, given.ref)
            taken = folded(given, message) if message is not None else None
            if taken is None:
                raise SessionError(f"entry {number}: {given.ref.topic} {given.ref.seq} of {given.room} is missing")
            inputs.append(taken)
        voices = fold.step(entry.tick_us // VOICE_STEP_US, tuple(inputs))
        if digests(voices) != entry.results:
            raise SessionError(f"entry {number}: the utterances differ from those of the house")
        found += voices
        chain = chained(entry)
    return found
