"""The encoder contract: inputs, outputs, and the specification that an encoder declares.

An encoder is a fold with explicit state, ``step(state, block) -> (state, tokens)``. The same blocks from
``initial()`` on give the same bytes in any process, so a recorded session replays exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import InputError
from edge_mer.contract.people import SeenPerson, VoiceCurve
from edge_mer.contract.raw import SAMPLE_RATE as SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What an encoder declares: ``rate_hz`` tokens per second of ``dim`` float32 values each.

    ``latency_us`` is algorithmic: how long after the physical event its token can exist at the earliest.
    ``model`` is the sha256 of the weights (hex, first 16 digits); features of different weights are not mixed.
    """

    name: str
    modality: Modality
    rate_hz: float
    dim: int
    latency_us: int
    model: str


def named(encoder: str, people: int) -> str:
    """The name of ``encoder`` where it follows so many people."""
    return f"{encoder}/people-{people}"


def people_of(encoder: str) -> int:
    """How many people the encoder of this name follows."""
    found = re.search(r"/people-(\d+)$", encoder)
    return int(found[1]) if found else 1


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """``samples`` float32 [n] in [-1, 1], 16 kHz mono; ``origin_us`` is the time of the first sample."""

    samples: NDArray[np.float32]
    origin_us: int


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """``image`` uint8 [height, width, 3] in BGR order, as OpenCV decodes it."""

    image: NDArray[np.uint8]
    origin_us: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its time; ``approx`` when the time was spread evenly over the segment."""

    text: str
    start_us: int
    end_us: int
    approx: bool = False


@dataclass(frozen=True, slots=True)
class TextSegment:
    """All words of one segment so far. A later block of the same ``segment`` replaces it."""

    segment: int
    words: tuple[Word, ...]
    final: bool


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """``values`` float32 [n, dim]; ``start_us``, ``end_us`` int64 [n]; ``valid`` bool [n] (speech, a face, a word).

    ``context`` names what the tokens belong to (a face track, an audio stretch, a text segment): tokens of
    different contexts are never combined, except text segments, which follow each other.
    ``cut``: tokens before these must not be combined with them. ``people``: whose tokens they are, and ``voice``: how
    loud it was during them, where several faces are followed.
    """

    values: NDArray[np.float32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    valid: NDArray[np.bool_]
    context: int = 0
    cut: bool = False
    people: tuple[SeenPerson, ...] | None = None
    voice: VoiceCurve | None = None

    def __len__(self) -> int:
        return len(self.values)


def no_tokens(dim: int) -> Tokens:
    """Zero tokens: the result of an encoder that waits for more input."""
    none = np.empty(0, np.int64)
    return Tokens(np.empty((0, dim), np.float32), none, none, np.empty(0, np.bool_))


_PER_TOKEN: Final = ("values", "start_us", "end_us", "valid")


def joined(first: Tokens, then: Tokens) -> Tokens:
    """Tokens of one context in their order."""
    if not len(first):
        return then
    parts: dict[str, Any] = {n: np.concatenate([getattr(first, n), getattr(then, n)]) for n in _PER_TOKEN}
    return replace(first, **parts)


def split(tokens: Tokens, count: int) -> tuple[Tokens, Tokens]:
    """The first ``count`` tokens, which carry the cut, and the rest."""
    first: dict[str, Any] = {n: getattr(tokens, n)[:count] for n in _PER_TOKEN}
    rest: dict[str, Any] = {n: getattr(tokens, n)[count:] for n in _PER_TOKEN}
    return replace(tokens, **first), replace(tokens, **rest, cut=False)


def one_array(topic: str, payload: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The single one-dimensional payload array of a raw message. Raises InputError for any other."""
    if len(payload) != 1 or payload[0].ndim != 1:
        raise InputError(f"{topic}: expected one payload array of one dimension")
    return payload[0]


State = TypeVar("State")
Block = TypeVar("Block", contravariant=True)


class Encoder(Protocol[State, Block]):
    """A fold over captured blocks. ``step`` may consume ``state``; callers use only the returned one afterwards.

    A purge overwrites the arrays of a state: they are of this state alone, or also in every ``initial()``.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    def initial(self) -> State: ...

    def step(self, state: State, block: Block) -> tuple[State, Tokens]:
        """Fold one block in. Raises InputError when the block breaks the contract."""
        ...
