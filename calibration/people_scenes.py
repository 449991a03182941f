"""Scenes of several people, put together from recorded talking heads: who is where, and who speaks when.

A person is cut out of a clip and laid over a room, so that where each face is, and whose voice is heard, is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.clock import SECOND
from edge_mer.perception.crop import grown, square
from edge_mer.perception.detect import Box, FaceDetector, Image
from edge_mer.perception.encoder import SAMPLE_RATE, VideoFrame
from pipelines.data.corpora import DataError
from pipelines.data.recordings import pictures_of, sound_of

WIDTH, HEIGHT, FPS, QUALITY = 640, 360, 15, 85
# Clips of one talking head each; their voices are their own.
TALKING: Final = ("av_scenes/grid_*.mp4", "av_clips/1001_DFA_ANG_XX.flv")
# The man of another clip.
AGAIN: Final = ("grid_pwij3p",)
# Faces without a voice and the frames before them: a mouth that moves, and one behind a hand.
SILENT: Final = (("av_clips/fer_woman2.mp4", 0), ("av_clips/pyfeat_WolfgangLanger_Pexels.mp4", 200))
STILL: Final = ("av_scenes/*two_people.jpg", "av_scenes/*kit_with_rose.jpg", "av_clips/pyfeat_single_face.jpg")
# A cut-out, in heights of the face, and the side of its picture.
AROUND, SIDE = 2.2, 240
Sound = NDArray[np.float32]
Way = Callable[[float], tuple[float, float, float]]
"""Time in seconds -> the middle of a face and its height, as shares of the picture's width, height and height."""


@dataclass(frozen=True, eq=False)
class Actor:
    """A face that moves, cut out of a clip: ``pictures`` [n, 240, 240, 3] at 15 per second, ``sound`` of the same
    length at 16 kHz, empty where there is none. It is played again and again."""

    name: str
    pictures: NDArray[np.uint8]
    sound: Sound

    @property
    def seconds(self) -> float:
        return len(self.pictures) / FPS

    def picture(self, frame: int) -> Image:
        return np.asarray(self.pictures[frame % len(self.pictures)], np.uint8)

    def voice(self, seconds: float) -> Sound:
        """Its voice from the beginning, as long as that; zeros where it has none."""
        wanted, period = round(seconds * SAMPLE_RATE), round(self.seconds * SAMPLE_RATE)
        once = np.zeros(period, np.float32)
        once[: min(period, len(self.sound))] = self.sound[:period]
        return np.asarray(np.resize(once, wanted), np.float32)


@dataclass(frozen=True)
class Role:
    """An actor in a scene: ``where`` and from ``begin`` to ``end`` (s). ``mirrored`` left to right. ``speaks``: the
    spans (s) in which its voice is heard. A ``frozen`` one is a picture on a wall or a television."""

    actor: Actor
    where: Way
    begin: float = 0.0
    end: float = 1e9
    mirrored: bool = False
    speaks: tuple[tuple[float, float], ...] = ()
    frozen: bool = False

    def is_there(self, second: float) -> bool:
        return self.begin <= second < self.end


@dataclass(frozen=True)
class Shot:
    """One picture as the camera process sends it, and where the face of each role is; None where it is away."""

    frame: VideoFrame
    boxes: tuple[Box | None, ...]


@dataclass(frozen=True)
class Scene:
    """``roles`` from the farthest to the nearest: a later one covers an earlier one. ``off_screen``: a voice that is no
    role's, in ``off_spans``. Truth: ``speaker(second)``."""

    name: str
    kind: str
    seconds: float
    roles: tuple[Role, ...]
    off_screen: Actor | None = None
    off_spans: tuple[tuple[float, float], ...] = ()
    noise: float = 1.5
    seed: int = 0

    @cached_property
    def sound(self) -> Sound:
        """float32 [n] at 16 kHz: the voices, each in its spans, and a little noise."""
        random = np.random.default_rng(self.seed)
        out = random.normal(0, 1e-4, round(self.seconds * SAMPLE_RATE)).astype(np.float32)
        voices = [(r.actor, r.speaks) for r in self.roles]
        for actor, spans in [*voices, *([(self.off_screen, self.off_spans)] if self.off_screen else [])]:
            voice = actor.voice(self.seconds)
            for begin, end in spans:
                part = slice(round(begin * SAMPLE_RATE), round(min(end, self.seconds) * SAMPLE_RATE))
                out[part] += voice[part]
        return out

    def speaker(self, second: float) -> int | str | None:
        """The number of the role whose voice is heard, "voice" off screen, None for nobody."""
        for i, role in enumerate(self.roles):
            if any(begin <= second < end for begin, end in role.speaks):
                return i
        return "voice" if any(begin <= second < end for begin, end in self.off_spans) else None

    def shots(self) -> Iterator[Shot]:
        """15 pictures per second."""
        random, room = np.random.default_rng(self.seed), _room(self.seed)
        for n in range(round(self.seconds * FPS)):
            second = n / FPS
            image, boxes = room.copy(), []
            for role in self.roles:
                boxes.append(_laid(image, role, n) if role.is_there(second) else None)
            noisy = image + random.normal(0, self.noise, image.shape)
            jpeg = cv2.imencode(".jpg", noisy.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            sent = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
            yield Shot(VideoFrame(sent, round(second * SECOND)), tuple(boxes))


def at(x: float, y: float = 0.5, high: float = 0.3) -> Way:
    """Where a face stays."""
    return lambda second: (x, y, high)


def along(points: Sequence[tuple[float, float, float, float]]) -> Way:
    """Where a face goes: (second, x, y, height), straight between the points."""
    times, *values = np.array(points, np.float64).T
    return lambda second: (
        float(np.interp(second, times, values[0])),
        float(np.interp(second, times, values[1])),
        float(np.interp(second, times, values[2])),
    )


def actor(path: Path, finder: FaceDetector, skip: int = 0, most: int = 10 * FPS) -> Actor:
    """The largest face of a clip or a picture. Raises DataError where none is found."""
    frames = list(pictures_of(path))[skip:]
    step = 1 / FPS * SECOND
    began = frames[0].origin_us if frames else 0
    kept: list[VideoFrame] = []
    for frame in frames:
        while frame.origin_us - began >= step * len(kept) and len(kept) < most:
            kept.append(frame)
    found = [face for frame in kept[: 2 * FPS : 5] for face in finder.detect(frame.image)[:1]]
    if not found:
        raise DataError(f"{path} shows no face")
    left, top, width, height = (float(v) for v in np.median([f.box for f in found], 0))
    cuts = [
        cv2.resize(
            square(f.image, grown((left, top, width, height), AROUND)), (SIDE, SIDE), interpolation=cv2.INTER_AREA
        )
        for f in kept
    ]
    try:
        sound = sound_of(path)[round(began / SECOND * SAMPLE_RATE) :]
    except DataError:
        sound = np.zeros(0, np.float32)
    return Actor(path.stem, np.array(cuts, np.uint8), sound)


def hushed(talker: Actor) -> Actor:
    """The same face before its first word, forwards and backwards, without a voice."""
    level = np.abs(talker.sound).reshape(-1)
    loud = np.flatnonzero(level > 0.1 * level.max()) if level.size else np.array([len(talker.pictures)])
    quiet = max(3, int(loud[0] / SAMPLE_RATE * FPS) - 1)
    pictures = talker.pictures[:quiet]
    return replace(talker, pictures=np.concatenate([pictures, pictures[-2:0:-1]]), sound=np.zeros(0, np.float32))


def talking(root: Path, finder: FaceDetector) -> list[Actor]:
    """Different people who speak."""
    paths = [path for pattern in TALKING for path in sorted(root.glob(pattern)) if path.stem not in AGAIN]
    return [actor(path, finder) for path in paths]


def silent(root: Path, finder: FaceDetector) -> list[Actor]:
    return [actor(root / name, finder, skip) for name, skip in SILENT]


def still(root: Path, finder: FaceDetector) -> list[Actor]:
    return [actor(path, finder) for pattern in STILL for path in sorted(root.glob(pattern))]


def voices(root: Path, most: int = 6) -> list[Actor]:
    """Voices of nobody in view (RAVDESS)."""
    paths = sorted((root / "ravdess_av" / "audio").rglob("*.*"))[:: max(1, 1200 // most)][:most]
    pictures = np.zeros((6 * FPS, 1, 1, 3), np.uint8)
    return [Actor(path.stem, pictures, sound_of(path)) for path in paths]


def _room(seed: int) -> Image:
    """A wall with some things on it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(60, 190, (6, 10, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(smooth, (0, 0), 6), np.uint8)


def _laid(image: Image, role: Role, frame: int) -> Box:
    """Lays the picture of ``role`` over ``image``; where its face is."""
    x, y, high = role.where(frame / FPS)
    face = high * HEIGHT
    side = max(8, round(face * AROUND))
    picture = role.actor.picture(0 if role.frozen else frame)
    cut: Image = picture[:, ::-1] if role.mirrored else picture
    method = cv2.INTER_AREA if side < SIDE else cv2.INTER_LINEAR
    cut = np.asarray(cv2.resize(np.ascontiguousarray(cut), (side, side), interpolation=method), np.uint8)
    left, top = round(x * WIDTH - side / 2), round(y * HEIGHT - side / 2)
    rows = slice(max(0, top), max(0, min(HEIGHT, top + side)))
    columns = slice(max(0, left), max(0, min(WIDTH, left + side)))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    share = np.ones((1, 1, 1), np.float32) if role.frozen else _oval(side)[inside]
    image[rows, columns] = (share * cut[inside] + (1 - share) * image[rows, columns]).astype(np.uint8)
    return x * WIDTH - face / 2, y * HEIGHT - face / 2, face, face


def _oval(side: int) -> NDArray[np.float32]:
    """[side, side, 1]: 1 on head and shoulders, 0 outside, soft between."""
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, (side // 2, round(0.46 * side)), (round(0.30 * side), round(0.38 * side)), 0, 0, 360, 1.0, -1)
    cv2.ellipse(mask, (side // 2, side), (round(0.45 * side), round(0.22 * side)), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.015 * side)), np.float32)[..., None]
