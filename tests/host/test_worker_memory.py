"""A process that holds content writes no core file and refuses its user's debuggers."""

from __future__ import annotations

import subprocess
import sys

SHOW = """
import ctypes, resource
from edge_mer.host.worker import keep_memory_private
keep_memory_private()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_core_files_and_debuggers_are_disabled() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "(0, 0) 0"
