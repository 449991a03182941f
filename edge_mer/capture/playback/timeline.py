"""The common t0 of a file's audio, its video and its recorded words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from edge_mer.contract.clock import SECOND, Clock, host_boot_id
from edge_mer.host.files import write_atomic

# Readers' sockets connect within a fifth of a second; the first blocks come after that.
LEAD_US = SECOND // 4

START: Final = "playback.json"


class _Saved(msgspec.Struct, frozen=True):
    """``run``: which run of which host began it."""

    run: str
    path: str
    t0_us: int


class SavedStart:
    """t0 of a clip in a file, so that a process that is started again goes on where the clip is now.

    Another run of edge_mer, of another parent process, begins from the start.
    """

    def __init__(self, file: Path, path: str) -> None:
        self._file, self._path = file, path
        self._run = f"{host_boot_id()}.{os.getppid()}"

    def load(self) -> int | None:
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=_Saved)
        except (OSError, msgspec.MsgspecError):
            return None
        return saved.t0_us if (saved.run, saved.path) == (self._run, self._path) else None

    def save(self, t0_us: int) -> None:
        write_atomic(self._file, msgspec.json.encode(_Saved(self._run, self._path, t0_us)))


class Playback:
    """Begins when the first gate opens, and does not pause: while a track is masked, its part of the file is skipped.

    ``period_us``: length of one lap of a loop (None: the file plays once). ``start`` keeps t0 over a restart.
    """

    def __init__(self, clock: Clock, period_us: int | None = None, start: SavedStart | None = None) -> None:
        self.clock, self.period_us = clock, period_us
        self._start = start
        self.t0_us = start.load() if start else None

    def begin(self) -> int:
        """Set t0 unless it is set; returns it."""
        if self.t0_us is None:
            self.t0_us = self.clock.now_us() + LEAD_US
            if self._start is not None:
                self._start.save(self.t0_us)
        return self.t0_us

    def position_us(self) -> int:
        """Time since t0; negative before it, 0 before ``begin``."""
        return 0 if self.t0_us is None else self.clock.now_us() - self.t0_us

    def lap_of(self, position_us: int) -> tuple[int, int]:
        """The lap and its start (us)."""
        if self.period_us is None:
            return 0, 0
        lap = max(0, position_us) // self.period_us
        return lap, lap * self.period_us
