"""``calibration/RESULTS.md``: one section per measurement, each written by its own command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

FILE: Final = Path("calibration/RESULTS.md")
TITLE: Final = "# Calibration results\n\nEach section is written by the command that it names.\n"


def section(path: Path, name: str, text: str) -> None:
    """Replace the section ``name``, or add it; the others stay as they are."""
    old = path.read_text() if path.is_file() else TITLE
    new = f"## {name}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search(old)
    before, after = (old[: found.start()], old[found.end() :]) if found else (old.rstrip() + "\n\n", "")
    path.write_text(before + new + (f"\n{after}" if after else ""))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
