"""A picture of timelines: a panel for each file, with the probabilities over time and the labels below."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, Emotion
from edge_mer.contract.errors import InputError
from edge_mer.demo.timeline import Timeline
from edge_mer.host.files import create_private

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
# Okabe and Ito's palette, as BGR; it is told apart with colour blindness too.
COLOURS: Final[dict[Emotion, Colour]] = dict(
    zip(
        EMOTIONS,
        ((153, 153, 153), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204), (115, 158, 0), (233, 180, 86)),
        strict=True,
    )
)
WIDTH, PANEL, LEFT, RIGHT, TOP = 1000, 240, 60, 130, 34
BARS, BAND = 140, 18  # heights of the probabilities and of the labels, px
INK, GRID = (40, 40, 40), (225, 225, 225)


def save_plot(timelines: list[Timeline], out: Path) -> None:
    """Raises FileExistsError where there is a file, InputError for a suffix that OpenCV cannot write."""
    image = np.concatenate([_panel(t) for t in timelines])
    try:
        good, data = cv2.imencode(out.suffix or ".png", image)
    except cv2.error:
        good = False
    if not good:
        raise InputError(f"{out}: unknown kind of picture; name a .png file")
    with create_private(out) as file:
        file.write(data.tobytes())


def _panel(timeline: Timeline) -> Image:
    image: Image = np.full((PANEL, WIDTH, 3), 255, np.uint8)
    _write(image, f"{timeline.name}: {timeline.summary()}", LEFT, 22)
    windows, seconds = timeline.windows(), max(timeline.seconds, 0.5)
    per_s = (WIDTH - LEFT - RIGHT) / seconds
    edge = LEFT
    for window in windows:
        left, edge = edge, WIDTH - RIGHT if timeline.is_photo else LEFT + round(window.at_s * per_s)
        floor = float(TOP + BARS)
        for emotion, p in (window.body.probabilities or {}).items():
            cv2.rectangle(image, (left, round(floor - p * BARS)), (edge, round(floor)), COLOURS[emotion], cv2.FILLED)
            floor -= p * BARS
        band = COLOURS[window.body.label] if window.body.label else GRID
        cv2.rectangle(image, (left, TOP + BARS + 4), (edge, TOP + BARS + 4 + BAND), band, cv2.FILLED)
    _write(image, "label", 12, TOP + BARS + 4 + BAND - 4)
    if not timeline.is_photo:
        step = max(1, round(seconds / 10))
        for second in range(0, int(seconds) + 1, step):
            _write(image, f"{second} s", LEFT + round(second * per_s), TOP + BARS + 44)
    for number, emotion in enumerate(EMOTIONS):
        top = TOP + number * 20
        cv2.rectangle(image, (WIDTH - RIGHT + 12, top), (WIDTH - RIGHT + 26, top + 12), COLOURS[emotion], cv2.FILLED)
        _write(image, emotion, WIDTH - RIGHT + 32, top + 11)
    return image


def _write(image: Image, text: str, left: int, base: int) -> None:
    """OpenCV's fonts hold ASCII only."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
