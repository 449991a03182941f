"""Single key presses from a terminal; none without a terminal."""

from __future__ import annotations

import os
import sys
import termios
import tty
from types import TracebackType

NAMED = {"\x1b[C": "right", "\x1b[D": "left"}


class Keyboard:
    """A context in which keys arrive at once and without echo; Ctrl-C still interrupts. Restores the terminal."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._before: list[object] = []

    def __enter__(self) -> Keyboard:
        try:
            fd = sys.stdin.fileno()
            if sys.stdin.isatty() and os.tcgetpgrp(fd) == os.getpgrp():
                self._before = termios.tcgetattr(fd)
                tty.setcbreak(fd)
                self._fd = fd
        except (OSError, ValueError, termios.error):
            self._fd = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]

    @property
    def wake(self) -> tuple[int, ...]:
        return () if self._fd is None else (self._fd,)

    def pressed(self) -> list[str]:
        """Keys pressed since the last call; arrow keys by name."""
        if self._fd is None:
            return []
        os.set_blocking(self._fd, False)
        try:
            text = os.read(self._fd, 64).decode(errors="ignore")
        except BlockingIOError:
            text = ""
        finally:
            os.set_blocking(self._fd, True)
        found = []
        while text:
            known = next((k for k in NAMED if text.startswith(k)), text[0])
            found.append(NAMED.get(known, known))
            text = text[len(known) :]
        return found
