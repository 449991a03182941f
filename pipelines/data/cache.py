"""What takes minutes to compute and follows from files and code alone, kept below ``runs/cache``."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data.files import draft

CACHE: Final = Path("runs/cache")
Arrays = Mapping[str, NDArray[Any]]


def cached(
    name: str, make: Callable[[], Arrays], files: Iterable[Path], code: Iterable[ModuleType], *settings: object
) -> Arrays:
    """``make()``, or what it gave before for the same files (path and size), source and ``settings``.

    The source is that of ``code`` and of the module of ``make``. Written whole or not at all.
    """
    stamp = hashlib.sha256(repr(settings).encode())
    for path in files:
        stamp.update(f"{path.absolute()} {path.stat().st_size}\n".encode())
    for module in (*code, sys.modules[make.__module__]):
        assert module.__file__ is not None
        stamp.update(Path(module.__file__).read_bytes())
    kept = CACHE / f"{name}-{stamp.hexdigest()[:16]}.npz"
    if not kept.is_file():
        made = make()
        with draft(kept) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **made)
    with np.load(kept, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
