"""What serves others stands back: however much they ask, sensing and fusion get the processor first."""

from __future__ import annotations

import os

NICE = 10


def lower_priority() -> None:
    """For this process, until it ends."""
    os.nice(NICE)
