"""CPU load for tests. Run as a program, this module uses one core until it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run ``count`` processes that only compute."""
    processes = [subprocess.Popen([sys.executable, "-m", "edge_mer.bench.busy"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    while True:
        sum(range(10_000))
