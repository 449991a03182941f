"""A busy machine. Run as a program it burns one processor until killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy(count: int) -> Iterator[None]:
    """``count`` processes that do nothing but compute."""
    burners = [subprocess.Popen([sys.executable, "-m", "edge_mer.bench.busy"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


if __name__ == "__main__":
    while True:
        sum(range(10_000))
