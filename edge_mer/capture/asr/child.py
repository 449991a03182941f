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
# Of sound: how often the words so far are told.
PARTIAL_BYTES = 16_000
_PR_SET_PDEATHSIG = 1


class Hypothesis(Struct, frozen=True):
    """Words of one segment, times in us from its start; or ``error``: what went wrong with it."""

    segment: int
    words: tuple[WordTime, ...] = ()
    final: bool = False
    error: str | None = None


def frame(order: int, segment: int, pcm: bytes = b"") -> bytes:
    """One order. At most 4096 bytes, which a pipe takes whole or not at all."""
    return HEADER.pack(order, segment, len(pcm)) + pcm


def serve(recogniser: Recogniser, orders: BinaryIO, say: Callable[[Hypothesis], None]) -> None:
    """Carry out orders until there are no more. An error ends its segment, not the process."""
    unsaid, broken, told = 0, False, ()  # type: int, bool, tuple[WordTime, ...]
    while len(head := orders.read(HEADER.size)) == HEADER.size:
        order, segment, length = HEADER.unpack(head)
        pcm = orders.read(length)
        if broken and order != BEGIN:
            continue
        try:
            if order == BEGIN:
                unsaid, broken, told = 0, False, ()
                recogniser.begin()
            elif order == PIECE:
                recogniser.feed(pcm)
                unsaid += len(pcm)
                if unsaid >= PARTIAL_BYTES:
                    unsaid = 0
                    words = recogniser.partial()
                    if words and words != told:
                        told = words
                        say(Hypothesis(segment, words))
            elif order == END:
                say(Hypothesis(segment, recogniser.end(), final=True))
        except EdgeMerError as error:
            broken = True
            say(Hypothesis(segment, final=True, error=str(error)))


def die_with_parent() -> None:
    """Also while it waits for a server: what it heard must not outlive the gate that let it hear."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    die_with_parent()
    # Libraries that print do not reach the parent's pipe.
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(hypothesis: Hypothesis) -> None:
        pipe.write(msgspec.json.encode(hypothesis) + b"\n")

    try:
        recogniser = load(msgspec.json.decode(sys.argv[1], type=Choice))
    except EdgeMerError as error:
        say(Hypothesis(-1, error=str(error)))
        sys.exit(1)
    serve(recogniser, sys.stdin.buffer, say)


if __name__ == "__main__":
    main()
