"""Which faces are found: pictures x tilt x size x yaw, by each detector and as the device looks for them.

``python -m calibration.detection`` writes the section Face detection of RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from calibration import report
from calibration.scenes import Portrait, is_hit, portraits, scene, turned
from edge_mer.contract.errors import EdgeMerError
from edge_mer.perception.detect import Box, Haar, Image
from edge_mer.perception.encoder import VideoFrame
from edge_mer.perception.face import SLOT_US, FaceEncoder, FaceState
from edge_mer.perception.yunet_detector import PARTS, detector
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.data.recordings import pictures_of
from pipelines.encoders.shipped import FILES, MODELS

SHARES: Final = (1 / 3, 1 / 6, 1 / 8, 1 / 12)
TILTS: Final = (0, 15, 30, 45, -45)
YAWS: Final = (30, 45, 60, -60)
# The search of a whole picture takes this many frames, 1.6 s.
FRAMES: Final = len(PARTS)
# Nobody is to be seen in these.
EMPTY: Final = ("av_clips/pyfeat_no_face.mp4", "av_scenes/dlib_dogs.jpg")
HEAD: Final = ("face / height", "tilt", "yaw", "faces", "cascade", "YuNet, a glance", "the device, in 1.6 s")


@dataclass(frozen=True, slots=True)
class Cell:
    """Shares of the faces found; ``tilt`` and ``yaw`` in degrees."""

    share: float
    tilt: int
    yaw: int
    faces: int
    found: tuple[float, float, float]

    def cells(self) -> list[str]:
        shares = [f"{value:.2f}" for value in self.found]
        return [f"1/{1 / self.share:.0f}", f"{self.tilt}", f"{self.yaw}", f"{self.faces}", *shares]


class Detection:
    """The rows of the table, and how long a frame takes."""

    def __init__(self, root: Path, models: Path) -> None:
        backend = OnnxRuntime()
        self._root, self._finder, self._haar = root, detector(backend, models), Haar()
        self._eye = FaceEncoder(backend.load(models / FILES["video"]), self._finder)
        self.faces = portraits(root, self._finder)

    def rows(self) -> Iterator[Cell]:
        poses = [(tilt, 0) for tilt in TILTS] + [(0, yaw) for yaw in YAWS]
        for yaw in sorted({yaw for _, yaw in poses}):
            heads = self.faces if yaw == 0 else [turned(face, yaw) for face in self.faces]
            for share in SHARES:
                for tilt in [tilt for tilt, other in poses if other == yaw]:
                    yield self._cell(heads, share, tilt, yaw)

    def _cell(self, heads: Sequence[Portrait], share: float, tilt: int, yaw: int) -> Cell:
        random, hits = np.random.default_rng(0), []
        for head in heads:
            image, box = scene(head, share, tilt, random)
            glances = [any(is_hit(f.box, box) for f in d.detect(image)) for d in (self._haar, self._finder)]
            hits.append((*glances, self._is_bound(image, box)))
        haar, glance, device = np.mean(hits, 0)
        return Cell(share, tilt, yaw, len(hits), (float(haar), float(glance), float(device)))

    def _is_bound(self, image: Image, box: Box) -> bool:
        return any(s.reason != "no face" and s.face and is_hit(s.face.box, box) for s in self._looks(image, FRAMES))

    def _looks(self, image: Image, frames: int) -> Iterator[FaceState]:
        state = self._eye.initial()
        for i in range(frames):
            state, _ = self._eye.step(state, VideoFrame(image, i * SLOT_US))
            yield state

    def false_alarms(self) -> list[tuple[str, int, int]]:
        """Of pictures without a person: how many, and in how many a face was bound."""
        out = []
        for name in EMPTY:
            state, bound, frames = self._eye.initial(), 0, 0
            for i, frame in enumerate(list(pictures_of(self._root / name))[::3]):
                state, _ = self._eye.step(state, VideoFrame(frame.image, i * SLOT_US))
                bound, frames = bound + (state.reason != "no face"), frames + 1
            out.append((name, frames, bound))
        return out

    def times(self) -> list[tuple[str, float]]:
        """Milliseconds of one thread's own CPU time, median of 40."""
        image, _ = scene(self.faces[0], 1 / 6, 0, np.random.default_rng(0))
        empty = np.random.default_rng(0).integers(0, 60, image.shape).astype(np.uint8)
        return [
            ("cascade, 320 x 240", _median(lambda: self._haar.detect(image))),
            ("YuNet, a glance at 640 x 384", _median(lambda: self._finder.detect(image))),
            ("the device's frame, a face is followed", self._frame(image)),
            ("the device's frame, nobody is there", self._frame(empty)),
        ]

    def _frame(self, image: Image) -> float:
        states, took = self._looks(image, 42), []
        for _ in range(42):
            began = time.thread_time()
            next(states)
            took.append(time.thread_time() - began)
        return float(np.median(took[2:])) * 1e3


def _median(work: Callable[[], object]) -> float:
    took = []
    for _ in range(40):
        began = time.thread_time()
        work()
        took.append(time.thread_time() - began)
    return float(np.median(took)) * 1e3


def markdown(detection: Detection) -> str:
    """The section Face detection."""
    rows = [cell.cells() for cell in detection.rows()]
    times = [[name, f"{ms:.1f}"] for name, ms in detection.times()]
    alarms = [[name, str(frames), str(bound)] for name, frames, bound in detection.false_alarms()]
    return f"""`python -m calibration.detection`: {len(detection.faces)} upright frontal faces of photographs and films
(`calibration/scenes.py`), each put into a 1080p room at a random place and sent as the camera process sends it, 640
pixels wide, JPEG. Size: the face (brow to chin) over the picture's height. Yaw is drawn: the photograph on an ellipsoid
with a nose, so those rows are signs. `a glance`: one look at the whole picture. `the device`: bound within 1.6 s by the
encoder's own fold, which searches turned and enlarged parts, one a frame, and confirms from near.

{report.table(HEAD, rows)}

Milliseconds of one thread's own CPU time for a frame, median; the device looks at 5 frames a second:

{report.table(["what", "ms"], times)}

Pictures without a person, and in how many of them a face was bound:

{report.table(["what", "frames", "bound"], alarms)}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.detection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section is written")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        text = markdown(Detection(arguments.data, arguments.models))
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    report.section(arguments.report, "Face detection", text)
    print(text)


if __name__ == "__main__":
    main()
