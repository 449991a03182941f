"""An asyncio loop that takes turns inside a worker's turn: no thread, and the worker stays a worker."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# A request is answered within so many steps; what is left is done at the next turn.
PASSES = 12


class TurnLoop:
    """``fd`` is readable when the loop has something to do; timers are looked at when ``turn`` is called."""

    def __init__(self) -> None:
        selector = selectors.EpollSelector()
        self._loop = asyncio.SelectorEventLoop(selector)
        self.fd = selector.fileno()

    def turn(self) -> None:
        self.run(_passes())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let everything go on until ``coroutine`` has ended."""
        return self._loop.run_until_complete(coroutine)

    def close(self) -> None:
        self._loop.close()


async def _passes() -> None:
    for _ in range(PASSES):
        await asyncio.sleep(0)
