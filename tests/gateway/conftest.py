from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.caller import Caller
from tests.gateway.stage import Stage


@pytest.fixture
def staged() -> Iterator[Callable[..., Stage]]:
    """Creates a stage; keyword arguments set its [hub] section."""
    with ExitStack() as stack:

        def make(**hub: Any) -> Stage:
            # Short, because socket paths are at most 107 bytes.
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
            stage = Stage(place, **hub)
            stack.callback(stage.close)
            return stage

        yield make


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    return staged()


@pytest.fixture
def caller(stage: Stage) -> Iterator[Caller]:
    found = Caller(stage)
    yield found
    found.close()
