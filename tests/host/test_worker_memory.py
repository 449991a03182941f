"""A process that holds content writes no core file, refuses its user's debuggers, and ends at its memory limit."""

from __future__ import annotations

import subprocess
import sys

from edge_mer.host.processes import PROCESSES

SHOW = """
import ctypes, resource
from edge_mer.host.limits import limit_memory
limit_memory(None)
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_core_files_and_debuggers_are_disabled() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "(0, 0) 0"


def test_a_process_gets_no_more_address_space_than_its_row_allows() -> None:
    grow = "from edge_mer.host.limits import limit_memory\nlimit_memory(300)\nbytearray(400_000_000)"
    done = subprocess.run([sys.executable, "-c", grow], capture_output=True, text=True, timeout=60)
    assert "MemoryError" in done.stderr


def test_every_process_that_other_hosts_reach_has_a_limit() -> None:
    limited = {row.name for row in PROCESSES if row.memory_mb is not None}
    assert limited == {"hub", "door", "mqtt", "page", "house"}
