"""How this program is called, for commands that a user is to copy."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NAME = "edge-mer"


def program() -> str:
    """``edge-mer`` where a shell finds this one by its name, else its path, as from a virtual environment."""
    called = Path(sys.argv[0])
    if called.name != NAME:
        return f"{sys.executable} -m edge_mer.cli.main"
    found = shutil.which(NAME)
    return NAME if found is not None and Path(found).resolve() == called.resolve() else str(called)
