"""Ctrl-C and SIGTERM as a question that a loop asks; the handlers from before come back afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from edge_mer.worker import Stop


@contextmanager
def interruptible() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield Stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
