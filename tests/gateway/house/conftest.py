from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.house.stage import HouseStage


@pytest.fixture
def house() -> Iterator[Callable[..., HouseStage]]:
    """Creates a house of the named rooms; keyword arguments set its [house] section."""
    with ExitStack() as stack:

        def make(*rooms: str, **section: Any) -> HouseStage:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
            found = HouseStage(place, *rooms, **section)
            stack.callback(found.close)
            return found

        yield make
