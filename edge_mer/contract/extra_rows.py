"""Rows that an environment variable adds to a table: for experiments and tests, in this process and its children."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def extra_rows(variable: str) -> tuple[Any, ...]:
    """``ROWS`` of every module that ``variable`` names, with commas between. Raises ImportError, naming the module."""
    names = [name.strip() for name in os.environ.get(variable, "").split(",")]
    return tuple(row for name in names if name for row in import_module(name).ROWS)
