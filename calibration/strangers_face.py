"""The face encoder on people outside its training, and on faces that nobody could read.

Pictures of FER2013's PublicTest. Who is on them is not known, so intervals are by picture. A face is labelled here
where the encoder gives a token whose largest share is above SURE; calibration.stress says what the product labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration import corruptions as damage
from calibration.scenes import portraits, scene, turned
from calibration.strangers import Row, interval
from edge_mer.perception.crop import sharpness
from edge_mer.perception.detect import FaceDetector
from edge_mer.perception.encoder import VideoFrame
from edge_mer.perception.face import SHARP, FaceEncoder, is_readable
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import UNKNOWN
from pipelines.data.faces import VotedFaces, fer2013_votes
from pipelines.encoders.shipped import FILES

Image = NDArray[np.uint8]
Harm = Callable[[Image, np.random.Generator], Image]
SURE: Final = 0.5
SPOILED: Final = 1000
YAWS: Final = (-60, 60)
HARMS: Final[Mapping[str, Harm]] = {
    "as they are": lambda image, random: image,
    "in half of the light": lambda image, random: damage.dark(image, 0.5, random),
    "lower 40 % covered": lambda image, random: damage.occluded(image, 0.4),
    "lower half covered": lambda image, random: damage.occluded(image, 0.5),
    "lower half behind cloth": lambda image, random: cloth(image, 0.5, random),
    "in a tenth of the light": lambda image, random: damage.dark(image, 0.1, random),
    "in a twentieth of the light": lambda image, random: damage.dark(image, 0.05, random),
    "blurred by 3 % of the width": lambda image, random: damage.blurred(image, 0.03),
}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """``votes`` and ``own`` [n, 7]: posteriors of both heads; ``valid`` [n]: whether there is a token."""

    votes: NDArray[np.float64]
    own: NDArray[np.float64]
    valid: NDArray[np.bool_]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        return np.asarray(self.valid & (self.votes.max(1) > SURE), np.bool_)


def answers(graph: Graph, images: NDArray[np.uint8]) -> Answers:
    """Of pictures [n, 48, 48]."""
    crops = images[:, None].astype(np.float32) / np.float32(255)
    said = [graph.run({"face": crop[None]}) for crop in crops]
    valid = [sharpness(crop[0]) >= SHARP and is_readable(out) for crop, out in zip(crops, said, strict=True)]
    votes = np.concatenate([out["posterior"] for out in said]).astype(np.float64)
    own = np.concatenate([out.get("search", out["posterior"]) for out in said]).astype(np.float64)
    return Answers(votes, own, np.array(valid))


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """All rows, of ``models``' face encoder; ``runs`` is not used: nothing is trained."""
    backend = OnnxRuntime()
    graph, faces = backend.load(models / FILES["video"]), fer2013_votes(root, "dev")
    yield from judged(answers(graph, faces.images), faces)
    yield from spoiled(graph, faces)
    finder = detector(backend, models)
    yield turned_away(root, finder, FaceEncoder(graph, finder))


def judged(found: Answers, faces: VotedFaces) -> Iterator[Row]:
    """By FER2013's own labels and by what ten people saw."""
    own = (found.own.argmax(1) == faces.labels).astype(np.float64)
    yield row("FER2013 PublicTest, own labels: accuracy", own, ">= 0.67", lambda value: value >= 0.67)
    clear = faces.majority != UNKNOWN
    seen = (found.votes.argmax(1) == faces.majority)[clear].astype(np.float64)
    yield row("the same, what most of ten people saw (FERPlus): accuracy", seen, ">= 0.80", lambda value: value >= 0.8)
    told = faces.votes.sum(1) > 0
    entropy = -(faces.votes * np.log(found.votes + 1e-9)).sum(1)[told]
    yield row("the same, cross-entropy to the ten votes", entropy)


def spoiled(graph: Graph, faces: VotedFaces) -> Iterator[Row]:
    """Whether faces that are covered, dark or blurred get a label, and how often that is what most people saw."""
    clear = np.flatnonzero(faces.majority != UNKNOWN)
    chosen = np.random.default_rng(1).permutation(clear)[:SPOILED]
    for name, harm in HARMS.items():
        random = np.random.default_rng(0)
        found = answers(graph, np.stack([harm(faces.images[i], random) for i in chosen]))
        yield row(f"faces {name}: labelled", found.labelled.astype(np.float64))
        hit = (found.votes.argmax(1) == faces.majority[chosen])[found.labelled]
        if len(hit):
            yield row(f"faces {name}: of these right", hit.astype(np.float64))


def turned_away(root: Path, finder: FaceDetector, encoder: FaceEncoder) -> Row:
    """Real heads, drawn as turned by 60 degrees, a sixth of the picture high."""
    random, valid = np.random.default_rng(0), []
    for head in portraits(root, finder):
        for yaw in YAWS:
            image, _ = scene(turned(head, yaw), 1 / 6, 0, random)
            _, tokens = encoder.step(encoder.initial(), VideoFrame(image, 0))
            valid.append(tokens.valid.any())
    return row("heads turned by 60 degrees (drawn): a token", np.array(valid, np.float64))


def row(what: str, values: NDArray[np.float64], target: str = "", reaches: Any = None) -> Row:
    value, low, high = interval(values, [str(i) for i in range(len(values))])
    return Row(what, value, low, high, f"{len(values)}", target, reaches(value) if reaches else None)


def cloth(image: Image, share: float, random: np.random.Generator) -> Image:
    """The lower ``share`` behind a folded cloth: stripes of light and shade, and grain."""
    covered: Image = image.copy()
    top = round(len(image) * (1 - share))
    across = np.arange(image.shape[1]) * random.uniform(0.1, 0.5) + random.uniform(0, 6)
    folds = random.uniform(40, 200) + random.uniform(5, 30) * np.sin(across)
    covered[top:] = np.clip(folds + random.normal(0, 4, covered[top:].shape), 0, 255).astype(np.uint8)
    return covered
