"""Opening again what was lost: with a growing pause, until the gate closes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Final, Protocol

from edge_mer.capture.device import Fault

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0


class Opening(Protocol):
    """What is to be open until ``aborted``: one device, or the tracks of a connection."""

    @property
    def aborted(self) -> Event: ...

    def set_fault(self, fault: Fault | None) -> None: ...


def keep_open(opening: Opening, attempt: Callable[[], tuple[bool, str]]) -> None:
    """Call ``attempt`` until the abort; it returns whether the device delivered anything, and why it stopped.

    The pause doubles from one failure to the next, and is the first one again after a success.
    """
    pause = FIRST_PAUSE_S
    while not opening.aborted.is_set():
        delivered, reason = attempt()
        pause = FIRST_PAUSE_S if delivered else pause
        opening.set_fault(Fault("absent", f"{reason}; retrying"))
        opening.aborted.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
