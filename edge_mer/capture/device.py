"""The device contract: what a capture worker's loop asks of a microphone, a camera, a track or a transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_mer.contract.domain import Health
from edge_mer.contract.messages import Body


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One block as it left the device, with the raw body of its modality; ``mask_epoch`` is filled in when published.

    ``origin_us``: when the physical event began; ``arrived_us``: when the capture thread had the block.
    ``repeats``: how many blocks right before it were identical (0 where identical blocks are normal).
    """

    origin_us: int
    arrived_us: int
    body: Body
    payload: tuple[NDArray[Any], ...] = ()
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a device knows to be wrong with itself, for example ``absent``, "the clip has no audio track"."""

    health: Health
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """What was measured of a device that closed: which of its handles /proc still shows, and whether a read fails."""

    held: tuple[str, ...]
    read_fails: bool
    handles: str

    @property
    def complete(self) -> bool:
        return not self.held and self.read_fails

    def __str__(self) -> str:
        held = f"/proc still shows {', '.join(self.held)}" if self.held else f"no {self.handles} in /proc"
        return f"{held}, {'a read fails' if self.read_fails else 'a READ STILL WORKS'}"


class Device(Protocol):
    """A device as its worker's loop sees it: no call blocks. Blocking work is in a thread of the device's own."""

    @property
    def name(self) -> str:
        """For people: "USB microphone", a URL without its password, a file name."""
        ...

    @property
    def interval_us(self) -> int | None:
        """Nominal time between blocks; None when silence is normal (text)."""
        ...

    @property
    def fault(self) -> Fault | None: ...

    @property
    def closed(self) -> bool:
        """Measured: no handle is held."""
        ...

    @property
    def wake(self) -> tuple[int, ...]:
        """Readable when ``read`` has blocks or ``closed`` or ``fault`` changed."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """``dropped`` (blocks lost between device and loop), ``overflow`` and the like, since the process began."""
        ...

    def open(self) -> None:
        """Begin to open; called only while ``closed``. What goes wrong shows in ``fault``, and reopening is the
        device's own task: the worker calls this once per leave to be open, also for a clip that has ended."""
        ...

    def read(self) -> list[Captured]:
        """All blocks since the last call, oldest first; nothing after ``abort``.

        Raises DeviceError when the device is lost in a way that only a new process can mend.
        """
        ...

    def abort(self) -> None:
        """Begin to release, at once: what was captured and not yet read is discarded, never drained."""
        ...

    def release(self) -> Release:
        """Measured while ``closed``: that nothing of it is left open."""
        ...

    def join(self, timeout_s: float) -> bool:
        """Wait for ``closed`` at the end of the process; returns it."""
        ...
