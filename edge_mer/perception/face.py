"""Face encoder: five frames per second, the largest face in each, and its expression as a posterior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.perception.crop import crop_face, sharpness
from edge_mer.perception.detect import Box, Face, FaceDetector, Image
from edge_mer.perception.encoder import EncoderSpec, Tokens, VideoFrame, no_tokens
from edge_mer.runtime.backend import Graph, origin

SLOT_US: Final = 200_000
LOST_US: Final = 1_000_000
SAME_FACE: Final = 0.3
RIVAL: Final = 0.6

# Sharpness below which the expression network is sure and wrong; 99.9 % of FER2013's test faces have over 0.11, and
# those that a Gaussian of 2 % of their width has blurred about 0.07.
SHARP: Final = 0.05
# Beyond 45 degrees of yaw and these of pitch half of the expression is hidden or foreshortened; a roll beyond the last
# is upside down. YuNet's landmarks lean towards a frontal face: of drawn heads turned by 60 degrees it reads 36.
YAW: Final = 35.0
PITCH: Final = 30.0
ROLL: Final = 90.0

Reason = Literal["", "no face", "unbound", "turned away", "blurred", "covered or dark"]


@dataclass(frozen=True, slots=True)
class FaceState:
    """``slot`` is the last 200 ms slot that gave a token; ``face`` the bound face, last seen at ``seen_us``; ``rival``
    another that was seen once in its place.

    ``context`` is the time at which the track of this face began; ``reason`` says why the last token is invalid;
    ``looks`` counts the frames in which a face was searched for.
    """

    slot: int | None = None
    face: Face | None = None
    rival: Box | None = None
    seen_us: int = 0
    context: int = 0
    reason: Reason = "no face"
    looks: int = 0

    def bound(self, now_us: int) -> Face | None:
        """The face that is followed: none that was gone for a second."""
        return self.face if now_us - self.seen_us <= LOST_US else None


class FaceEncoder:
    """Fold of frames into tokens of ``graph``: ``face`` [1, 1, 48, 48] in [0, 1] -> ``posterior`` [1, 7].

    A token is an instant (``start_us == end_us``): the first frame at or after each 200 ms slot of the capture
    clock. Without exactly one clear face, in focus, it is zero and not valid.
    """

    def __init__(self, graph: Graph, detector: FaceDetector) -> None:
        self._graph, self.detector = graph, detector
        self.spec = EncoderSpec(
            name="/".join(filter(None, (str(graph.metadata.get("name", "face")), detector.name))),
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
        image = checked(block.image)
        if not self.wants(state, block.origin_us):
            return state, no_tokens(self.spec.dim)
        after = self._looked(replace(state, slot=block.origin_us // SLOT_US), image, block.origin_us)
        values = np.zeros((1, self.spec.dim), np.float32)
        if (face := after.face) is not None and not after.reason:
            after = replace(after, reason=unreadable(image, face))
            token = None if after.reason else self.read(image, face)
            if token is not None:
                values = token
            elif not after.reason:
                after = replace(after, reason="covered or dark")
        now = np.array([block.origin_us], np.int64)
        return after, Tokens(
            values=values,
            start_us=now,
            end_us=now.copy(),
            valid=np.array([not after.reason]),
            context=after.context,
            cut=state.slot is None or after.context != state.context,
        )

    def read(self, image: Image, face: Face) -> NDArray[np.float32] | None:
        """The token [1, dim] of ``face``; None where the network finds it covered or dark."""
        crop = crop_face(image, face.box, face.pose.roll)
        outputs = self._graph.run({"face": crop[None, None]})
        return outputs["posterior"] if is_readable(outputs) else None

    def _looked(self, state: FaceState, image: Image, now_us: int) -> FaceState:
        """``state`` after this picture: a glance, then a look from near at the face to be bound."""
        faces, last = self.detector.detect(image), state.bound(now_us)
        if last is not None and not any(overlap(last.box, f.box) >= SAME_FACE for f in faces):
            kept = self.detector.again(image, last)
            faces += [kept] if kept is not None else []
        if not faces:
            faces, state = self.detector.scan(image, state.looks), replace(state, looks=state.looks + 1)
        after = _track(state, faces, now_us)
        if after.reason or after.face is None:
            return after
        is_same = last is not None and after.context == state.context
        exact = self.detector.closer(image, after.face, (last if last and is_same else after.face).pose.roll)
        return replace(state, rival=None, reason="no face") if exact is None else replace(after, face=exact)


def unreadable(image: Image, face: Face) -> Reason:
    """Why no expression can be read from a face, or nothing."""
    pose = face.pose
    if abs(pose.yaw) > YAW or abs(pose.pitch) > PITCH or abs(pose.roll) > ROLL:
        return "turned away"
    return "blurred" if sharpness(crop_face(image, face.box, pose.roll)) < SHARP else ""


def is_readable(outputs: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the network finds the face neither covered nor dark; a graph without this output always does."""
    return "readable" not in outputs or bool(outputs["readable"][0, 0] >= 0.5)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (one[2] * one[3] + other[2] * other[3] - common) if common else 0.0


def _track(state: FaceState, faces: list[Face], now_us: int) -> FaceState:
    """Bind to the face that was followed, else to the largest; to none beside a rival of like size.

    While a face is followed, another takes its place only when it is seen twice: a detector's slip is no new person.
    """
    if not faces:
        return replace(state, rival=None, reason="no face")
    last = state.bound(now_us)
    face = faces[0] if last is None else max(faces, key=lambda f: overlap(last.box, f.box))
    followed = last is not None and overlap(last.box, face.box) >= SAME_FACE
    face = face if followed else faces[0]
    area = face.box[2] * face.box[3]
    if any(f.box[2] * f.box[3] >= RIVAL * area and overlap(f.box, face.box) < SAME_FACE for f in faces):
        return replace(state, rival=None, reason="unbound")
    if followed:
        return replace(state, face=face, rival=None, seen_us=now_us, reason="")
    if last is not None and (state.rival is None or overlap(state.rival, face.box) < SAME_FACE):
        return replace(state, rival=face.box, reason="unbound")
    return replace(state, face=face, rival=None, seen_us=now_us, context=now_us, reason="")


def checked(image: Image) -> Image:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{getattr(image, 'dtype', type(image).__name__)}{list(np.shape(image))}"
        raise InputError(f"video frame: got {got}, expected uint8[height, width, 3] in BGR order")
    if not image.size:
        raise InputError(f"video frame: it is empty, {list(image.shape)}; the camera sent a damaged picture")
    return image
