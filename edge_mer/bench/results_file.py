"""``RESULTS.md`` of the bench: the table of each part is between two marks, and only the tables are rewritten."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterable

import edge_mer
from edge_mer.bench.result import Figure
from edge_mer.session.cpu_info import cpu_name

HEAD = "| figure | value | target | verdict | note |\n|---|---|---|---|---|"


def rewritten(text: str, part: str, figures: Iterable[Figure], made: str) -> str:
    """``text`` with the figures of ``part`` between its marks; a part without marks gets a section at the end.

    ``made``: when and on what machine they were measured.
    """
    begin, end = f"<!-- bench {part} -->", f"<!-- end of bench {part} -->"
    block = f"{begin}\n{made}\n\n{markdown(figures)}\n{end}"
    marked = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if marked.search(text):
        return marked.sub(lambda _: block, text, count=1)
    return f"{text.rstrip()}\n\n## {part}\n\n{block}\n".lstrip()


def markdown(figures: Iterable[Figure]) -> str:
    """One row per figure."""
    return "\n".join([HEAD, *map(_row, figures)])


def measured_here(command: str) -> str:
    """The line above a table: the command, the day and the machine."""
    day = datetime.datetime.now(datetime.timezone.utc).date()
    machine = f"{os.cpu_count()} cores, {cpu_name()}, Python {platform.python_version()}"
    return f"`{command}`, {day}, edge_mer {edge_mer.__version__}, {machine}."


def _row(figure: Figure) -> str:
    target = "stated" if figure.target is None else f"≤ {figure.target:g} {figure.unit}"
    cells = (figure.name, f"{figure.value:g} {figure.unit}", target, figure.verdict, figure.note)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
