"""The turn of ``video.rotate``: a fixed one, or the one in which a face detector finds faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_mer.capture.picture import Image, turned
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.perception.detect import FaceDetector
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.select import models_directory, open_backend

TURNS = (0, 90, 180, 270)
# Two votes a second; decided once one turn has four more than any other.
VOTE_US, LEAD = SECOND // 2, 4
# A face that is tilted by more than this (degrees) is no vote: the detector finds it in any turn.
UPRIGHT = 45


class Upright:
    """Turns pictures. ``auto`` leaves them as they are until enough of them have shown a face in one turn only.

    ``open_detector`` is called at the first picture of ``auto`` and never otherwise.
    """

    def __init__(self, rotate: int | str, open_detector: Callable[[], FaceDetector]) -> None:
        self.degrees = rotate if isinstance(rotate, int) else 0
        self._decided = isinstance(rotate, int)
        self._open = open_detector
        self._detector: FaceDetector | None = None
        self._votes = dict.fromkeys(TURNS, 0)
        self._due: int | None = None

    def turn(self, image: Image, at_us: int) -> Image:
        if not self._decided and (self._due is None or at_us >= self._due):
            self._due = at_us + VOTE_US
            self._vote(image)
        return turned(image, self.degrees)

    def _vote(self, image: Image) -> None:
        if self._detector is None:
            self._detector = self._open()
        for degrees in TURNS:
            faces = self._detector.detect(turned(image, degrees))
            self._votes[degrees] += any(abs(face.pose.roll) <= UPRIGHT for face in faces)
        second, best = sorted(self._votes.values())[-2:]
        if best - second >= LEAD:
            self._decided = True
            self.degrees = max(self._votes, key=lambda degrees: self._votes[degrees])


def configured(config: Config) -> Upright:
    """``video.rotate``, with the face detector of this configuration."""
    yunet = Path(config.perception.yunet) if config.perception.yunet else None
    models = config.models
    return Upright(
        config.video.rotate, lambda: detector(open_backend(models), models_directory(models.directory), yunet)
    )
