"""Pictures of a room with one known face in it: so large, so tilted, turned so far. From real photographs and films."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_mer.perception.crop import grown, square
from edge_mer.perception.detect import Box, FaceDetector, Image
from pipelines.data.recordings import pictures_of

HEIGHT, WIDTH = 1080, 1920
# What the camera process sends on: at most so wide, as a JPEG of this quality.
SENT_WIDTH, QUALITY = 640, 85
# Sources and how many frames to skip: every person once or twice, upright and nearly frontal.
SOURCES: Final = (
    ("av_clips/pyfeat_*.jpg", 0),
    ("av_scenes/*couple.jpg", 0),
    ("av_scenes/*kit_with_rose.jpg", 0),
    ("av_scenes/*two_people.jpg", 0),
    ("av_scenes/*obama_and_biden.jpg", 0),
    ("av_scenes/grid_*.mp4", 10),
    ("av_clips/pyfeat_Wolf*.mp4", 277),
    ("av_clips/fer_woman2.mp4", 27),
    ("av_clips/pyfeat_face_noface.mov", 5),
    ("av_clips/1001_DFA_ANG_XX.flv", 20),
)
LARGE, FRONTAL, AROUND = 80.0, 25.0, 2.6
# The head of ``turned``: half its height and width, its depth, and how far the nose stands out, in heights of the face.
TALL, HALF, DEPTH, NOSE = 0.85, 0.55, 0.6, 0.13


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A square picture with an upright face in its middle, ``side`` pixels high."""

    image: Image
    side: float


def portraits(root: Path, finder: FaceDetector) -> list[Portrait]:
    """The large frontal faces of SOURCES that have no other beside them; ``finder`` knows them at full size."""
    frames = (
        next(islice(pictures_of(path), skip, None)) for pattern, skip in SOURCES for path in sorted(root.glob(pattern))
    )
    return [portrait for frame in frames for portrait in _portraits(frame.image, finder)]


def _portraits(image: Image, finder: FaceDetector) -> Iterator[Portrait]:
    for face in finder.detect(image):
        pose = face.pose
        if face.box[3] >= LARGE and abs(pose.yaw) < FRONTAL and abs(pose.pitch) < FRONTAL:
            alone = square(image, grown(face.box, AROUND), pose.roll)
            if len(finder.detect(alone)) == 1:
                yield Portrait(alone, face.box[3])


def turned(portrait: Portrait, yaw: float) -> Portrait:
    """The head of a frontal portrait turned by ``yaw`` degrees: its picture on an ellipsoid with a nose, seen from
    afar. What the other side of the head hides is not seen; what was hidden before is its stretched edge."""
    if yaw < 0:
        mirrored = turned(Portrait(np.ascontiguousarray(portrait.image[:, ::-1]), portrait.side), -yaw)
        return Portrait(np.ascontiguousarray(mirrored.image[:, ::-1]), portrait.side)
    size, high, angle = len(portrait.image), portrait.side, np.radians(yaw)
    across = np.arange(size) - (size - 1) / 2
    where = np.full((size, size), np.nan, np.float32)
    for row in np.flatnonzero(np.abs(across) < TALL * high):
        width = (1 - (across[row] / (TALL * high)) ** 2) ** 0.35
        u = np.linspace(-HALF, HALF, 400) * high * width
        surface = DEPTH * high * width * np.sqrt(1 - np.linspace(-1, 1, 400) ** 2)
        nose = NOSE * high * np.exp(-((u / (0.075 * high)) ** 2) - ((across[row] / high - 0.05) / 0.16) ** 2)
        shown = u * np.cos(angle) + (surface + nose) * np.sin(angle)
        last = int(shown.argmax()) + 1
        seen = (across >= shown[0]) & (across <= shown[last - 1])
        where[row, seen] = np.interp(across[seen], np.maximum.accumulate(shown[:last]), u[:last])
    rows = np.repeat(np.arange(size, dtype=np.float32)[:, None], size, 1)
    places = np.nan_to_num(where) + np.float32((size - 1) / 2)
    head = cv2.remap(portrait.image, places, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    backdrop = cv2.GaussianBlur(portrait.image, (0, 0), 0.3 * high)
    back = -0.6 * DEPTH * high * np.sin(angle)  # the face is in the middle again
    moved = np.array([(1, 0, back), (0, 1, 0)], np.float64)
    out = np.where(np.isnan(where)[..., None], backdrop, head).astype(np.uint8)
    centred = cv2.warpAffine(out, moved, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return Portrait(np.asarray(centred, np.uint8), portrait.side)


def scene(portrait: Portrait, share: float, tilt: float, random: np.random.Generator) -> tuple[Image, Box]:
    """A 1080p picture as the camera process sends it, its face ``share`` of the height and tilted clockwise; and the
    box of that face in it."""
    scale, size = share * HEIGHT / portrait.side, len(portrait.image)
    x, y = random.uniform(0.25, 0.75) * WIDTH, random.uniform(0.3, 0.7) * HEIGHT
    side = max(1, round(size * min(scale, 1.0)))
    small = cv2.resize(portrait.image, (side, side), interpolation=cv2.INTER_AREA)
    matrix = np.asarray(cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, -tilt, scale * size / side), np.float64)
    matrix[:, 2] += np.array((x, y)) - (side - 1) / 2
    room = cv2.warpAffine(small, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    sent = cv2.resize(room, (SENT_WIDTH, SENT_WIDTH * HEIGHT // WIDTH), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", sent, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    high, shrink = share * HEIGHT, SENT_WIDTH / WIDTH
    box = ((x - high / 2) * shrink, (y - high / 2) * shrink, high * shrink, high * shrink)
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8), box


def is_hit(found: Box, expected: Box) -> bool:
    """Whether a box lies on the face: its middle within 0.4 of a face, its height within a factor of 1.8."""
    middles = [(b[0] + b[2] / 2, b[1] + b[3] / 2) for b in (found, expected)]
    apart = np.hypot(*(np.array(middles[0]) - middles[1]))
    return bool(apart < 0.4 * expected[3] and 1 / 1.8 < found[3] / expected[3] < 1.8)
