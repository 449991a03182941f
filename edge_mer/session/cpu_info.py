"""Describes the processor of the recording host."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """Name of the processor; another processor may round the last bit differently."""
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
