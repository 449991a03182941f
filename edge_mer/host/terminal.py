"""Standard output and error streams that print control characters as text."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO, cast

from edge_mer.contract.plain_text import visible_lines


class VisibleStream:
    """Wraps the text stream ``inner``; only ``write`` and ``writelines`` differ."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner
        self.encoding = "utf-8"  # click bypasses a stream whose encoding is ASCII

    def write(self, text: str) -> int:
        self.inner.write(visible_lines(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def make_output_visible() -> None:
    """For this process, escape control characters and characters that the encoding cannot represent."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, VisibleStream(stream))


def raw_stdout() -> TextIO:
    """The unwrapped standard output, for the live view, which needs control sequences."""
    return sys.stdout.inner if isinstance(sys.stdout, VisibleStream) else cast(TextIO, sys.stdout)
