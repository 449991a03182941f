"""An asyncio loop that runs inside a worker's turn, without a thread."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# A request is answered within this many steps; remaining work is done at the next turn.
PASSES = 12


class TurnLoop:
    """``fd`` is readable when the loop has work; timers are checked when ``turn`` is called."""

    def __init__(self) -> None:
        selector = selectors.EpollSelector()
        self._loop = asyncio.SelectorEventLoop(selector)
        self.fd = selector.fileno()

    def turn(self) -> None:
        self.run(_passes())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the loop until ``coroutine`` has ended."""
        return self._loop.run_until_complete(coroutine)

    def close(self) -> None:
        self._loop.close()


async def _passes() -> None:
    for _ in range(PASSES):
        await asyncio.sleep(0)
