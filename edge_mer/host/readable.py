"""Waiting for one file descriptor."""

from __future__ import annotations

import select


def readable(fd: int, timeout_s: float) -> bool:
    """Whether ``fd`` has something to read, or has ended, within ``timeout_s``; its number may be above 1,023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
