"""Overwrites the content of buffers before they are dropped, where Python allows it.

What cannot be overwritten: ``bytes`` and ``str``, arrays that only view them (as the payload of a received message),
and copies that were freed before. See edge_mer/privacy/README.md.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


def overwrite(held: object, keep: object = None) -> int:
    """Zeros over every writable array, bytearray and memoryview in ``held``, at any depth of dataclasses, structs and
    containers, and over the whole array that a view belongs to; not over those that ``keep`` shares. Returns the bytes.
    """
    kept = {_address(root) for root in _roots(keep)}
    buffers = {_address(root): root for root in _roots(held)}
    total = 0
    for address, root in buffers.items():
        if address not in kept and root.flags.writeable and root.dtype != object:
            root.fill(np.zeros((), root.dtype)[()])
            total += root.nbytes
    return total


def _address(root: NDArray[Any]) -> int:
    return int(root.__array_interface__["data"][0])


def _roots(held: object) -> Iterator[NDArray[Any]]:
    if isinstance(held, np.ndarray):
        yield _root(held)
    elif isinstance(held, bytearray | memoryview):
        if len(held) and (isinstance(held, bytearray) or (held.contiguous and not held.readonly)):
            yield np.frombuffer(held, np.uint8)
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from _roots(value)
    elif isinstance(held, list | tuple | deque | set | frozenset):
        for value in held:
            yield from _roots(value)
    elif dataclasses.is_dataclass(held) and not isinstance(held, type):
        for field in dataclasses.fields(held):
            yield from _roots(getattr(held, field.name))
    elif isinstance(held, msgspec.Struct):
        for name in held.__struct_fields__:
            yield from _roots(getattr(held, name))


def _root(array: NDArray[Any]) -> NDArray[Any]:
    """The array that owns the memory of a view, where that is an array."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    if isinstance(array.base, bytearray):
        return np.frombuffer(array.base, np.uint8)
    return array
