"""Typed lines as a transcript: a user with access to the runtime directory writes lines into its FIFO ``typed``.

``echo "what a lovely day" > $XDG_RUNTIME_DIR/edge_mer/typed``
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

from edge_mer.capture.asr.spread_words import spread
from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.capture.open_handles import listed
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import RawText

NAME = "typed"
# A line is timed directly before its arrival: this long for each word, but never before the end of the previous line.
WORD_US = 3 * SECOND // 10
LONGEST_US = 3 * SECOND
MOST_BYTES = 4096


class TypedTranscript:
    """The FIFO exists while the gate is open. ``counters``: lines that were too ``long`` or not UTF-8 (``bad``)."""

    interval_us: int | None = None

    def __init__(self, clock: Clock, directory: Path) -> None:
        self.path = directory / NAME
        self.name = str(self.path)
        self.fault: Fault | None = None
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._fd: int | None = None
        self._last_fd = -1
        self._rest = b""
        self._skip = False
        self._segment = 0
        self._last_word_us = 0

    @property
    def closed(self) -> bool:
        return self._fd is None

    @property
    def wake(self) -> tuple[int, ...]:
        return () if self._fd is None else (self._fd,)

    def open(self) -> None:
        """Raises DeviceError when the path exists and is no FIFO."""
        try:
            if self.path.exists() and not stat.S_ISFIFO(self.path.lstat().st_mode):
                raise DeviceError(f"{self.path} is no FIFO; remove it")
            self.path.unlink(missing_ok=True)
            os.mkfifo(self.path, 0o600)
            # Opened for reading and writing, so that there is no end of file when a writer closes it.
            self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"{self.path}: {error}") from error
        self._last_fd = self._fd
        self._rest, self._skip = b"", False
        self._last_word_us = max(self._last_word_us, self._clock.now_us())  # no word is dated while the gate was closed

    def read(self) -> list[Captured]:
        return [c for line in self._lines() if (c := self._captured(line)) is not None]

    def abort(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self.path.unlink(missing_ok=True)
            self._fd, self._rest = None, b""

    def release(self) -> Release:
        held = tuple(target for fd, target in listed() if fd == self._last_fd and target.startswith(str(self.path)))
        return Release(held, not self.read(), "FIFO")

    def join(self, timeout_s: float) -> bool:
        return True

    def _lines(self) -> list[bytes]:
        if self._fd is None:
            return []
        try:
            data = self._rest + os.read(self._fd, 16 * MOST_BYTES)
        except BlockingIOError:
            return []
        *lines, self._rest = data.split(b"\n")
        if self._skip and lines:
            lines, self._skip = lines[1:], False
        if len(self._rest) > MOST_BYTES:
            self.counters["long"] += not self._skip
            self._rest, self._skip = b"", True
        return lines

    def _captured(self, line: bytes) -> Captured | None:
        if len(line) > MOST_BYTES:
            self.counters["long"] += 1
            return None
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            self.counters["bad"] += 1
            return None
        if not text:
            return None
        now = self._clock.now_us()
        start = max(self._last_word_us, now - min(LONGEST_US, WORD_US * len(text.split())))
        self._last_word_us = now
        self._segment += 1
        body = RawText(
            segment=self._segment, words=spread(text, start, now), final=True, parent=None, engine="typed", mask_epoch=0
        )
        return Captured(start, now, body)
