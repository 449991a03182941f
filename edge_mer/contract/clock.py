"""Time in integer microseconds, and a fake clock for tests.

``now_us`` (CLOCK_MONOTONIC) orders events; ``boottime_us`` (CLOCK_BOOTTIME, counts suspend) times leases;
``wall_us`` is for display and never used for ordering.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SECOND = 1_000_000


class Clock(Protocol):
    def now_us(self) -> int: ...

    def boottime_us(self) -> int: ...

    def wall_us(self) -> int: ...


class SystemClock:
    """The clocks of this host."""

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000

    def boottime_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000


@dataclass
class FakeClock:
    """A clock that a test advances. ``suspended_us`` is the additional time that CLOCK_BOOTTIME counts."""

    monotonic_us: int = 1_000 * SECOND
    suspended_us: int = 0
    epoch_us: int = 1_800_000_000 * SECOND

    def now_us(self) -> int:
        return self.monotonic_us

    def boottime_us(self) -> int:
        return self.monotonic_us + self.suspended_us

    def wall_us(self) -> int:
        return self.epoch_us + self.monotonic_us

    def advance(self, us: int) -> None:
        if us < 0:
            raise ValueError("a monotonic clock does not go back; change the wall clock with epoch_us")
        self.monotonic_us += us

    def suspend(self, us: int) -> None:
        """A suspended host: boot time passes, monotonic time does not."""
        self.suspended_us += us


def host_boot_id() -> str:
    """The kernel's id of this boot: leases and recordings are bound to it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def utc(wall_us: int) -> str:
    """Wall time as RFC 3339 in UTC, to the microsecond: ``2026-11-27T07:06:56.120000Z``."""
    second, us = divmod(wall_us, SECOND)
    return f"{datetime.datetime.fromtimestamp(second, datetime.timezone.utc):%Y-%m-%dT%H:%M:%S}.{us:06d}Z"
