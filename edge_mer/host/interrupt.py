"""Ctrl-C, SIGTERM and a closed terminal as a flag that a loop checks; earlier handlers are restored afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edge_mer.host.worker import Stop

INTERRUPTED: Final = 130  # exit code of a command that was ended before its end, as of a shell


@contextmanager
def interruptible() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        stop = Stop()
        signal.signal(signal.SIGHUP, lambda *_: setattr(stop, "requested", True))
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
