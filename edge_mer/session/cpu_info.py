"""What a recording says of the host that made it."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor: another one may round the last bit differently."""
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
