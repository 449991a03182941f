"""Pictures of the demo's clip as coloured characters: one character shows two pixels, one above the other."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

COLUMNS, ROWS = 26, 13
FPS: Final = 4
UPPER_HALF: Final = "▀"


class Pictures:
    """Every picture of a clip at ``FPS``, as Text of ``ROWS`` lines and ``COLUMNS`` columns."""

    def __init__(self, media: Path) -> None:
        self._shown = [half_blocks(grey) for grey in _decoded(media)]

    def at(self, position_s: float) -> Text:
        """The picture at this position, counted over all laps."""
        return self._shown[int(max(0.0, position_s) * FPS) % len(self._shown)]


def half_blocks(grey: NDArray[np.uint8]) -> Text:
    """``grey`` [2 * rows, columns] as text."""
    text = Text(no_wrap=True)
    for upper, lower in zip(grey[::2], grey[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            colours = (Color.from_rgb(level, level, level) for level in (above, below))
            text.append(UPPER_HALF, Style(color=next(colours), bgcolor=next(colours)))
        text.append("\n")
    return text


def _decoded(media: Path) -> list[NDArray[np.uint8]]:
    """Grey pictures [2 * ROWS, COLUMNS] of the middle of each frame that is due."""
    found: list[NDArray[np.uint8]] = []
    with av.open(str(media)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time * FPS < len(found):
                continue
            side = min(frame.width, frame.height) * 3 // 4
            grey = frame.to_ndarray(format="gray")
            left, top = (frame.width - side) // 2, (frame.height - side) // 2
            square = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(grey[top : top + side, left : left + side]), "gray"
            )
            small = square.reformat(width=COLUMNS, height=2 * ROWS)
            found.append(small.to_ndarray(format="gray").astype(np.uint8, copy=False))
    return found
