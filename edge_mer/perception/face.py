"""Face encoder: five frames per second, the largest face in each, and its expression as a posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.perception.detect import Box, FaceDetector, Image
from edge_mer.perception.encoder import EncoderSpec, Tokens, VideoFrame, no_tokens
from edge_mer.runtime.backend import Graph, origin

SLOT_US: Final = 200_000
CROP: Final = 48
LOST_US: Final = 1_000_000
SAME_FACE: Final = 0.3
RIVAL: Final = 0.6

# Sharpness below which the expression network is sure and wrong; 99.9 % of FER2013's test faces have over 0.11, and
# those that a Gaussian of 2 % of their width has blurred about 0.07.
SHARP: Final = 0.05

Reason = Literal["", "no face", "unbound", "blurred"]


@dataclass(frozen=True, slots=True)
class FaceState:
    """``slot`` is the last 200 ms slot that gave a token; ``box`` the bound face, last seen at ``seen_us``;
    ``rival`` another that was seen once in its place.

    ``context`` is the time at which the track of this face began; ``reason`` says why the last token is invalid.
    """

    slot: int | None = None
    box: Box | None = None
    rival: Box | None = None
    seen_us: int = 0
    context: int = 0
    reason: Reason = "no face"


class FaceEncoder:
    """Fold of frames into tokens of ``graph``: ``face`` [1, 1, 48, 48] in [0, 1] -> ``posterior`` [1, 7].

    A token is an instant (``start_us == end_us``): the first frame at or after each 200 ms slot of the capture
    clock. Without exactly one clear face, in focus, it is zero and not valid.
    """

    def __init__(self, graph: Graph, detector: FaceDetector) -> None:
        self._graph, self._detector = graph, detector
        self.spec = EncoderSpec(
            name=str(graph.metadata.get("name", "face")),
            modality="video",
            rate_hz=1e6 / SLOT_US,
            dim=graph.outputs["posterior"].shape[1],
            latency_us=0,
            model=origin(graph)[:16],
        )

    def initial(self) -> FaceState:
        return FaceState()

    def wants(self, state: FaceState, origin_us: int) -> bool:
        """Whether a frame of this time becomes a token; the others need not even be decoded."""
        return state.slot is None or origin_us // SLOT_US > state.slot

    def step(self, state: FaceState, block: VideoFrame) -> tuple[FaceState, Tokens]:
        """One token or none. A new face, or one that was gone for a second, starts a new context."""
        image = _checked(block.image)
        if not self.wants(state, block.origin_us):
            return state, no_tokens(self.spec.dim)
        after = _track(replace(state, slot=block.origin_us // SLOT_US), self._detector.detect(image), block.origin_us)
        values = np.zeros((1, self.spec.dim), np.float32)
        if after.box is not None and not after.reason and sharpness(crop_face(image, after.box)) < SHARP:
            after = replace(after, reason="blurred")
        if after.box is not None and not after.reason:
            values = self.read(image, after.box)
        now = np.array([block.origin_us], np.int64)
        return after, Tokens(
            values=values,
            start_us=now,
            end_us=now.copy(),
            valid=np.array([not after.reason]),
            context=after.context,
            cut=state.slot is None or after.context != state.context,
        )

    def read(self, image: Image, box: Box) -> NDArray[np.float32]:
        """The token [1, dim] of the face in ``box``."""
        posterior: NDArray[np.float32] = self._graph.run({"face": crop_face(image, box)[None, None]})["posterior"]
        return posterior


def square(image: Image, box: Box) -> Image:
    """The square part of ``image`` around ``box``, its border repeated outside."""
    left, top, width, height = box
    side = max(1, round(max(width, height)))
    x, y = round(left + (width - side) / 2), round(top + (height - side) / 2)
    rows = np.clip(np.arange(y, y + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x, x + side), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def crop_face(image: Image, box: Box) -> NDArray[np.float32]:
    """Square grey crop float32 [48, 48] in [0, 1] around ``box``."""
    grey = cv2.cvtColor(square(image, box), cv2.COLOR_BGR2GRAY)
    method = cv2.INTER_AREA if len(grey) > CROP else cv2.INTER_LINEAR
    face = np.asarray(cv2.resize(grey, (CROP, CROP), interpolation=method), np.float32)
    return np.divide(face, 255, dtype=np.float32)


def sharpness(face: NDArray[np.float32]) -> float:
    """Variance of the Laplacian of a crop over its own variance: how much fine detail, whatever the light."""
    return float(cv2.Laplacian(face, cv2.CV_32F).var() / (face.var() + np.float32(1e-6)))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (one[2] * one[3] + other[2] * other[3] - common) if common else 0.0


def _track(state: FaceState, faces: list[Box], now_us: int) -> FaceState:
    """Bind to the face that was followed, else to the largest; to none beside a rival of like size.

    While a face is followed, another takes its place only when it is seen twice: a detector's slip is no new person.
    """
    if not faces:
        return replace(state, rival=None, reason="no face")
    last = state.box if now_us - state.seen_us <= LOST_US else None
    box = faces[0] if last is None else max(faces, key=lambda face: overlap(last, face))
    followed = last is not None and overlap(last, box) >= SAME_FACE
    box = box if followed else faces[0]
    if any(f[2] * f[3] >= RIVAL * box[2] * box[3] and overlap(f, box) < SAME_FACE for f in faces):
        return replace(state, rival=None, reason="unbound")
    if followed:
        return replace(state, box=box, rival=None, seen_us=now_us, reason="")
    if last is not None and (state.rival is None or overlap(state.rival, box) < SAME_FACE):
        return replace(state, rival=box, reason="unbound")
    return replace(state, box=box, rival=None, seen_us=now_us, context=now_us, reason="")


def _checked(image: Image) -> Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{getattr(image, 'dtype', type(image).__name__)}{list(np.shape(image))}"
        raise InputError(f"video frame: got {got}, expected uint8[height, width, 3] in BGR order")
    if not image.size:
        raise InputError(f"video frame: it is empty, {list(image.shape)}; the camera sent a damaged picture")
    return image
