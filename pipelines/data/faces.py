"""Face pictures with what ten people saw in them: FER2013 with the votes of FERPlus, and press photographs.

FER2013's own labels come from the words of a web search; the crowd sees the same in 59 % of them (Barsoum et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS
from edge_mer.perception.crop import CROP
from pipelines.data.corpora import LABEL, UNKNOWN, DataError, Split, decoded, leaked, table

# FERPlus' columns that are ours, in our order; contempt, "unknown" and "no face" are the three others.
VOTED: Final = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
}
# Fewer of the ten votes for our seven than this: the picture shows none of them.
LEAST_VOTES: Final = 5
# What one person's label is worth beside ten votes: the rest is spread evenly.
ONE_PERSON: Final = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class VotedFaces:
    """``images`` uint8 [n, 48, 48]; ``votes`` float32 [n, 7], shares of our seven, all zero where there are too few;
    ``labels`` int64 [n], FER2013's own, or UNKNOWN."""

    images: NDArray[np.uint8]
    votes: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __add__(self, other: VotedFaces) -> VotedFaces:
        pairs = ((self.images, other.images), (self.votes, other.votes), (self.labels, other.labels))
        return VotedFaces(*(np.concatenate(pair) for pair in pairs))  # type: ignore[arg-type]

    @property
    def majority(self) -> NDArray[np.int64]:
        """The label that most people saw; UNKNOWN where two share the first place, or there are too few votes."""
        ranked = np.sort(self.votes, 1)
        return np.where(ranked[:, -1] > ranked[:, -2], self.votes.argmax(1), UNKNOWN)


def fer2013_votes(root: Path, split: Split) -> VotedFaces:
    """FER2013 as ``pipelines.data.corpora.fer2013`` has it (no leaked pictures), and in train its other 7,982."""
    faces, votes = table(root / "fer2013" / "fer2013_train_dev.npz"), table(root / "ferplus" / "ferplus_votes.npz")
    chosen = faces["split"] == {"train": "train", "dev": "public_test"}[split]
    chosen[leaked(root)] = False
    rows = np.flatnonzero(chosen)
    shares = _shares(votes["votes"], votes["columns"].tolist()) * votes["found"][:, None]
    first = VotedFaces(decoded(faces, rows, root / "fer2013"), shares[rows], _own(faces)[rows])
    if split == "dev":
        return first
    rest = table(root / "fer2013_rest" / "fer2013_rest.npz")
    every = np.arange(len(rest["label"]))
    shares = _shares(rest["ferplus_votes"], rest["ferplus_columns"].tolist())
    return first + VotedFaces(decoded(rest, every, root / "fer2013_rest"), shares, _own(rest))


def wild_faces(root: Path) -> VotedFaces:
    """Press photographs and film stills, one student's label each."""
    held = table(root / "wild_faces" / "wild_faces.npz")
    size = (CROP, CROP)
    images = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in held["img"]])
    seen = np.array([EMOTIONS.index(LABEL[str(name)]) for name in held["label"]])
    return VotedFaces(images.astype(np.uint8), smoothed(seen), np.full(len(images), UNKNOWN))


def smoothed(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """One person's ``labels`` [n] as shares of votes [n, 7]."""
    one = np.eye(len(EMOTIONS), dtype=np.float32)[labels]
    return (ONE_PERSON * one + (1 - ONE_PERSON) / len(EMOTIONS)).astype(np.float32)


def _own(held: dict[str, NDArray[np.generic]]) -> NDArray[np.int64]:
    names = np.array([EMOTIONS.index(LABEL[str(n)]) for n in held["label_names"]])
    return names[held["label"].astype(np.int64)]


def _shares(votes: NDArray[np.uint8], columns: list[str]) -> NDArray[np.float32]:
    if missing := [name for name in VOTED if name not in columns]:
        raise DataError(f"the votes lack {', '.join(missing)}; compare SHA256SUMS")
    theirs = {VOTED[name]: columns.index(name) for name in VOTED}
    ours = votes[:, [theirs[e] for e in EMOTIONS]].astype(np.float32)
    total = ours.sum(1, keepdims=True)
    ours[total[:, 0] < LEAST_VOTES] = 0
    shares: NDArray[np.float32] = ours / np.maximum(total, 1)
    return shares
