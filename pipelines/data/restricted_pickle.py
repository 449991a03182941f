"""Pickle files of research, read without running code: containers, numbers, texts and numpy arrays, nothing else."""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.data.corpora import DataError


def _encoded(text: str, encoding: str = "latin1", errors: str = "strict") -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2: latin1, whatever it names."""
    return text.encode("latin1", errors)


def _maker(value: Any, protocol: int) -> Callable[..., Any]:
    """What numpy asks for when it pickles ``value``; its versions move it."""
    out: Callable[..., Any] = value.__reduce_ex__(protocol)[0]
    return out


_NUMPY: Final[Mapping[str, Callable[..., Any]]] = {
    "multiarray._reconstruct": _maker(np.zeros(1), 2),
    "numeric._frombuffer": _maker(np.zeros(1), 5),
    "multiarray.scalar": _maker(np.float64(1), 2),
}
ALLOWED: Final[Mapping[str, Callable[..., Any]]] = {
    # numpy 1 and 2 name the same functions differently.
    **{f"{package}.{name}": f for package in ("numpy.core", "numpy._core") for name, f in _NUMPY.items()},
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "_codecs.encode": _encoded,
    **{
        f"{module}.{kind.__name__}": kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, list, dict)
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (full := f"{module}.{name}") not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {full}")
        return ALLOWED[full]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to other files")


def read(path: Path) -> Any:
    """The object in ``path``, texts of Python 2 as latin1. Raises DataError for what is no data or no pickle at all."""
    if not path.is_file():
        raise DataError(f"{path} is absent")
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:
        raise DataError(f"{path} is not a pickle of plain data: {error}; nothing of it was run") from error
