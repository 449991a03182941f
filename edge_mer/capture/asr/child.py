"""The child process that decodes speech: ``python -m edge_mer.capture.asr.child CHOICE`` (JSON of recogniser.Choice).

Standard input: orders (``frame``). Standard output: one JSON ``Hypothesis`` per line. It may be killed at any time;
it ends by itself when its input does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

import msgspec
from msgspec import Struct

from edge_mer.capture.asr.recogniser import Choice, Recogniser, load
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import WordTime

BEGIN, PIECE, END = 1, 2, 3
HEADER = struct.Struct("<BIH")
# Amount of audio between two partial results.
PARTIAL_BYTES = 16_000
MOST_ALTERNATIVES = 4
_PR_SET_PDEATHSIG = 1


class Hypothesis(Struct, frozen=True):
    """Words of one segment, times in us from its start; or ``error``: why recognition failed.

    ``confidence`` of the final words, None where the recogniser cannot tell; ``alternatives`` to them.
    """

    segment: int
    words: tuple[WordTime, ...] = ()
    final: bool = False
    error: str | None = None
    confidence: float | None = None
    alternatives: tuple[str, ...] = ()


def frame(order: int, segment: int, pcm: bytes = b"") -> bytes:
    """One order. At most 4096 bytes, which a pipe writes atomically."""
    return HEADER.pack(order, segment, len(pcm)) + pcm


def serve(recogniser: Recogniser, orders: BinaryIO, publish: Callable[[Hypothesis], None]) -> None:
    """Carry out orders until the end of input. An error ends its segment, not the process."""
    pending, failed, published = 0, False, ()  # type: int, bool, tuple[WordTime, ...]
    while len(head := orders.read(HEADER.size)) == HEADER.size:
        order, segment, length = HEADER.unpack(head)
        pcm = orders.read(length)
        if failed and order != BEGIN:
            continue
        try:
            if order == BEGIN:
                pending, failed, published = 0, False, ()
                recogniser.begin()
            elif order == PIECE:
                recogniser.feed(pcm)
                pending += len(pcm)
                if pending >= PARTIAL_BYTES:
                    pending = 0
                    words = recogniser.partial()
                    if words and words != published:
                        published = words
                        publish(Hypothesis(segment, words))
            elif order == END:
                words = recogniser.end()
                sure, others = confidence_of(recogniser), alternatives_of(recogniser)
                publish(Hypothesis(segment, words, final=True, confidence=sure, alternatives=others))
        except EdgeMerError as error:
            failed = True
            publish(Hypothesis(segment, final=True, error=str(error)))


def confidence_of(recogniser: Recogniser) -> float | None:
    """Of the words of its last ``end``; a value that is no probability is none."""
    value = getattr(recogniser, "confidence", None)
    return float(value) if value is not None and 0 <= value <= 1 else None


def alternatives_of(recogniser: Recogniser) -> tuple[str, ...]:
    """To the words of its last ``end``, at most MOST_ALTERNATIVES."""
    return tuple(getattr(recogniser, "alternatives", ()))[:MOST_ALTERNATIVES]


def die_with_parent() -> None:
    """Also while it waits for a server: the audio it holds must not outlive the gate."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    die_with_parent()
    # Output that libraries print must not enter the parent's pipe.
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def publish(hypothesis: Hypothesis) -> None:
        pipe.write(msgspec.json.encode(hypothesis) + b"\n")

    try:
        recogniser = load(msgspec.json.decode(sys.argv[1], type=Choice))
    except EdgeMerError as error:
        publish(Hypothesis(-1, error=str(error)))
        sys.exit(1)
    serve(recogniser, sys.stdin.buffer, publish)


if __name__ == "__main__":
    main()
