"""A test split that cannot be read before the final evaluation (ALGORITHMS.md 6, T6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from edge_mer.contract.errors import EdgeMerError

T = TypeVar("T")


class TestSplitTouched(EdgeMerError):
    """The test split was read before the final evaluation, or the others after it."""

    __test__ = False


class Splits(Generic[T]):
    """``splits["train"]`` and ``splits["dev"]`` until ``final()`` hands out the test split, once."""

    def __init__(self, parts: Mapping[str, T]) -> None:
        self._parts, self._final = dict(parts), False

    def __getitem__(self, name: str) -> T:
        if name == "test":
            raise TestSplitTouched("the test split was touched before the final evaluation; use final() once")
        if self._final:
            raise TestSplitTouched(f"{name!r} was read after the test split was opened; train and choose before")
        return self._parts[name]

    def final(self) -> T:
        """The test split, once; from now on train and dev raise."""
        if self._final:
            raise TestSplitTouched("the test split was opened already; it is scored once")
        self._final = True
        return self._parts["test"]
