"""Pictures of the demo's clip as coloured characters: one character shows two pixels, one above the other."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Every picture of a clip at ``FPS``, as Text of ``ROWS`` lines and ``COLUMNS`` columns.

    A picture is decoded when it is first due: decoding the whole clip would delay the start.
    """

    def __init__(self, media: Path) -> None:
        self._shown: list[Text] = []
        self._rest = map(half_blocks, _decoded(media))

    def at(self, position_s: float) -> Text:
        """The picture at this position, counted over all laps."""
        number = int(max(0.0, position_s) * FPS)
        while number >= len(self._shown):
            picture = next(self._rest, None)
            if picture is None:
                number %= len(self._shown)
            else:
                self._shown.append(picture)
        return self._shown[number]


def half_blocks(grey: NDArray[np.uint8]) -> Text:
    """``grey`` [2 * rows, columns] as text."""
    text = Text(no_wrap=True)
    for upper, lower in zip(grey[::2], grey[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            colours = (Color.from_rgb(level, level, level) for level in (above, below))
            text.append(UPPER_HALF, Style(color=next(colours), bgcolor=next(colours)))
        text.append("\n")
    return text


def _decoded(media: Path) -> Iterator[NDArray[np.uint8]]:
    """Grey pictures [2 * ROWS, COLUMNS] of the middle of each frame that is due."""
    taken = 0
    with av.open(str(media)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time * FPS < taken:
                continue
            side = min(frame.width, frame.height) * 3 // 4
            grey = frame.to_ndarray(format="gray")
            left, top = (frame.width - side) // 2, (frame.height - side) // 2
            square = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(grey[top : top + side, left : left + side]), "gray"
            )
            small = square.reformat(width=COLUMNS, height=2 * ROWS)
            taken += 1
            yield small.to_ndarray(format="gray").astype(np.uint8, copy=False)
