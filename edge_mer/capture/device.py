"""The device contract: what a capture worker's loop needs of a microphone, a camera, a track or a transcript."""

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
    ``repeats``: how many blocks directly before it were identical (0 where identical blocks are normal); ``frozen``:
    the device has proof that it repeats itself.
    """

    origin_us: int
    arrived_us: int
    body: Body
    payload: tuple[NDArray[Any], ...] = ()
    repeats: int = 0
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that the device itself reports, for example ``absent``, "the clip has no audio track"."""

    health: Health
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """Measurements on a closed device: which of its handles /proc still shows, and whether a read fails."""

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
    """A device as its worker's loop sees it: no call blocks. Blocking work runs in the device's own thread."""

    @property
    def name(self) -> str:
        """Display name: "USB microphone", a URL without its password, a file name."""
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
        """Begin to open; called only while ``closed``. Errors show in ``fault``, and the device reopens itself: the
        worker calls this once each time the gate opens, also for a clip that has ended."""
        ...

    def read(self) -> list[Captured]:
        """All blocks since the last call, oldest first; nothing after ``abort``.

        Raises DeviceError when the device is lost and only a new process can reopen it.
        """
        ...

    def abort(self) -> None:
        """Begin to release, at once: blocks that were captured and not yet read are discarded, never drained.

        The worker calls it again until ``closed``."""
        ...

    def release(self) -> Release:
        """Measure, while ``closed``, that no handle is left open."""
        ...

    def join(self, timeout_s: float) -> bool:
        """Wait for ``closed`` at the end of the process; returns whether it is closed."""
        ...
