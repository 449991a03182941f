"""Limits: a token bucket on the caller's clock, and what this process may do with memory."""

from __future__ import annotations

import ctypes
import resource

from edge_mer.contract.clock import SECOND

_PR_SET_DUMPABLE, _M_MMAP_THRESHOLD = 4, -3
LARGE_BYTES = 128 * 1024


def limit_memory(address_space_mb: int | None) -> None:
    """No core file, no debugger of this user (``man 2 prctl``) and, if it is given, at most this much address space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    if address_space_mb is not None:
        most = address_space_mb * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if hasattr(libc, "mallopt"):  # glibc: a large block goes back to the kernel when it is freed (man 3 mallopt)
            libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def out_of_memory(address_space_mb: int) -> str:
    """Why a process ended at its limit."""
    return f"reached its limit of {address_space_mb} MB of memory; a client may send too much"


class Budget:
    """At most ``rate_hz`` in the long run, ``burst`` at once."""

    def __init__(self, rate_hz: float, burst: float) -> None:
        self._rate, self._burst = rate_hz, burst
        self._left = burst
        self._at_us: int | None = None

    def take(self, wanted: int, now_us: int) -> int:
        """How many of ``wanted`` are allowed now."""
        earned = 0.0 if self._at_us is None else (now_us - self._at_us) * self._rate / SECOND
        self._at_us = now_us
        self._left = min(self._burst, self._left + earned)
        granted = min(wanted, int(self._left))
        self._left -= granted
        return granted
