"""The data sets at hand as typed records. Splits are by actor, video or dialogue and are never mixed."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar

import cv2
import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, NAMES, Emotion
from edge_mer.contract.errors import EdgeMerError

Split = Literal["train", "dev"]
DEFAULT_ROOT: Final = Path("../shared/data")
UNKNOWN: Final = -1
NO_ORDINAL: Final = 9
T = TypeVar("T")

# Calm is a quiet neutral in RAVDESS.
LABEL: Final[Mapping[str, Emotion]] = {**NAMES, "calm": "neutral"}
# RAVDESS has eight, in this order.
ACTED: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
# The fine labels of GoEmotions.
FINE: Final = (
    "admiration",
    "amusement",
    "anger",
    "annoyance",
    "approval",
    "caring",
    "confusion",
    "curiosity",
    "desire",
    "disappointment",
    "disapproval",
    "disgust",
    "embarrassment",
    "excitement",
    "fear",
    "gratitude",
    "grief",
    "joy",
    "love",
    "nervousness",
    "neutral",
    "optimism",
    "pride",
    "realization",
    "relief",
    "remorse",
    "sadness",
    "surprise",
)
ORDINAL: Final[Mapping[str, int]] = {"negative": -1, "neutral": 0, "positive": 1}
LICENCES: Final[Mapping[str, str]] = {
    "ravdess": "CC BY-NC-SA 4.0 (non-commercial)",
    "fer2013": "FER2013, research only",
    "ferplus": "FERPlus votes, MIT",
    "wild_faces": "press photographs, research only",
    "meld": "MELD, research only",
    "goemotions": "CC BY 4.0",
    "mosi": "CMU-MOSI, research only",
    "mosei": "CMU-MOSEI, research only",
    "iemocap": "IEMOCAP, research only",
    "sims": "CH-SIMS, research only",
    "tess": "TESS, CC BY-NC-ND 4.0",
    "nemo_pl": "nEMO, CC BY-NC-SA 4.0",
    "emovo_it": "EMOVO, research only",
    "turev_tr": "TurEV, CC BY-NC-ND 4.0",
    "urdu": "URDU, research only",
    "libri_multi": "LibriSpeech, CC BY 4.0",
    "speechocean": "speechocean762, free",
    "wakewords": "wake words, Apache-2.0 and public domain",
}


class DataError(EdgeMerError):
    """A data set is missing or not as its README describes."""


@dataclass(frozen=True, slots=True)
class Speech:
    """One RAVDESS clip: sound file, its face posteriors [n, 7] (order of EMOTIONS) at ``times_s`` [n], label.

    ``acted`` is the set's own label, an index into ACTED; ``emotion`` the one of our seven that it maps to.
    """

    path: Path
    posteriors: NDArray[np.float32]
    times_s: NDArray[np.float64]
    duration_s: float
    emotion: int
    acted: int
    actor: int

    def samples(self) -> NDArray[np.float32]:
        """float32 [n], 16 kHz mono in [-1, 1]."""
        samples, rate = soundfile.read(self.path, dtype="float32")
        if rate != 16_000 or samples.ndim != 1:
            raise DataError(f"{self.path}: {rate} Hz, {samples.ndim}-D; expected 16 kHz mono")
        return np.asarray(samples, np.float32)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One text. ``emotion`` and ``ordinal`` are UNKNOWN (-1, and None) and ``score`` is NaN where not annotated.

    ``group``: the comment, dialogue or video that it comes from. ``fine``: the GoEmotions labels, of 28, that it also
    has.
    """

    text: str
    emotion: int
    ordinal: int | None
    score: float
    source: str
    group: str
    fine: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """``images`` uint8 [n, 48, 48], ``labels`` int64 [n] in the order of EMOTIONS."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def ravdess(root: Path, split: Split) -> list[Speech]:
    """Acted speech with face posteriors; train actors 1-16, dev 17-20."""
    held = table(root / "ravdess_av" / "ravdess_av.npz")
    names = [LABEL[str(n)] for n in held["emotion_names"]]
    columns = _columns(held["visual_names"].tolist())
    offsets, sequence, frame = held["visual_offsets"], held["visual_seq"], held["visual_frame"]
    clips = [
        Speech(
            path=root / "ravdess_av" / str(held["audio_path"][i]),
            posteriors=sequence[offsets[i] : offsets[i + 1]][:, columns].astype(np.float32),
            times_s=(frame[offsets[i] : offsets[i + 1]] - 1) / 29.97,
            duration_s=float(held["duration_s"][i]),
            emotion=EMOTIONS.index(names[held["emotion"][i]]),
            acted=ACTED.index(str(held["emotion_names"][held["emotion"][i]])),
            actor=int(held["actor"][i]),
        )
        for i in np.flatnonzero(held["split"] == split)
    ]
    return _nonempty(clips, "ravdess_av", split)


def fer2013(root: Path, split: Split) -> Faces:
    """Face crops; dev is the PublicTest split. Train is without the pictures that are also in a test split."""
    held = table(root / "fer2013" / "fer2013_train_dev.npz")
    chosen = held["split"] == {"train": "train", "dev": "public_test"}[split]
    chosen[leaked(root)] = False
    rows = np.flatnonzero(chosen)
    names = [EMOTIONS.index(LABEL[str(n)]) for n in held["label_names"]]
    return Faces(decoded(held, rows, root / "fer2013"), np.array(names)[held["label"][rows]])


def leaked(root: Path) -> NDArray[np.int32]:
    """Rows of fer2013 whose picture, of train, is also one of PublicTest or PrivateTest."""
    rows: NDArray[np.int32] = table(root / "ferplus" / "ferplus_votes.npz")["train_leak_index"]
    return rows


def decoded(held: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], folder: Path) -> NDArray[np.uint8]:
    """Pictures ``rows`` of an npz of WebP, [n, 48, 48]."""
    offsets, stream = held["offsets"], held["webp"]
    images = [cv2.imdecode(stream[offsets[i] : offsets[i + 1]], cv2.IMREAD_GRAYSCALE) for i in rows]
    whole = [image for image in images if image is not None and image.shape == (48, 48)]
    if len(whole) < len(images):
        raise DataError(f"{folder}: a picture is damaged; compare SHA256SUMS")
    return np.stack(whole).astype(np.uint8)


def goemotions(root: Path, split: Split) -> list[Sentence]:
    """Reddit comments that carry exactly one Ekman label; ambiguous sentiment is left unknown."""
    with _open(root / "goemotions" / f"{split}.csv.gz") as stream:
        return _nonempty(
            [
                Sentence(
                    row["text"],
                    EMOTIONS.index(LABEL[row["ekman"]]),
                    ORDINAL.get(row["sentiment"]),
                    math.nan,
                    "goemotions",
                    f"goemotions {row['id']}",
                    tuple(row["fine"].split()),
                )
                for row in _rows(stream, ("id", "text", "fine", "ekman", "sentiment"))
                if row["ekman"] in LABEL
            ],
            "goemotions",
            split,
        )


def meld(root: Path, split: Split) -> list[Sentence]:
    """Utterances of a TV show, with emotion and ordinal sentiment."""
    with _open(root / "meld_text" / f"{split}_sent_emo.csv") as stream:
        return _nonempty(
            [
                Sentence(
                    unquoted(row["Utterance"]),
                    EMOTIONS.index(LABEL[row["Emotion"]]),
                    ORDINAL[row["Sentiment"]],
                    math.nan,
                    "meld",
                    f"meld {row['Dialogue_ID']}",
                )
                for row in _rows(stream, ("Utterance", "Emotion", "Sentiment", "Dialogue_ID"))
            ],
            "meld_text",
            split,
        )


def mosi(root: Path, split: Split) -> list[Sentence]:
    """Transcripts of film reviews with a continuous sentiment in [-3, 3]; no emotion."""
    held = table(root / "mosi_utt" / "mosi_utt.npz")
    rows = np.flatnonzero(held["split"] == split)
    return _nonempty(
        [
            Sentence(
                str(held["transcript"][i]),
                UNKNOWN,
                None,
                float(held["sentiment"][i]),
                "mosi",
                f"mosi {held['video_id'][i]}",
            )
            for i in rows
        ],
        "mosi_utt",
        split,
    )


def sentences(root: Path, split: Split) -> list[Sentence]:
    """All texts at hand."""
    return goemotions(root, split) + meld(root, split) + mosi(root, split)


TABLES: Final = (
    "ravdess_av/ravdess_av.npz",
    "fer2013/fer2013_train_dev.npz",
    "goemotions/train.csv.gz",
    "goemotions/dev.csv.gz",
    "meld_text/train_sent_emo.csv",
    "meld_text/dev_sent_emo.csv",
    "mosi_utt/mosi_utt.npz",
)


def sha256_of(root: Path) -> str:
    """Names the corpora of ``root`` by the content of their tables. Raises DataError for an absent one."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(_present(root / t).read_bytes()).digest() for t in TABLES)
    ).hexdigest()


_CP1252: Final = {0x85: "...", 0x91: "'", 0x92: "'", 0x93: '"', 0x94: '"', 0x96: "-", 0x97: "-", 0xA0: " "}


def unquoted(text: str) -> str:
    """``text`` with what is left of cp1252 in it, its quotes and dots, as plain characters."""
    return text.translate(_CP1252)


def _columns(names: Sequence[str]) -> list[int]:
    """Where each of our labels stands in a foreign order of the same seven."""
    ours = [LABEL[str(n)] for n in names]
    return [ours.index(e) for e in EMOTIONS]


def _rows(stream: IO[str], needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(stream)
    absent = set(needed) - set(reader.fieldnames or ())
    if absent:
        raise DataError(f"a table lacks the columns {', '.join(sorted(absent))}; compare SHA256SUMS")
    return iter(reader)


def _open(path: Path) -> IO[str]:
    content = _present(path).read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return io.StringIO(content.decode("utf-8"), newline="")


def table(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name."""
    with np.load(_present(path), allow_pickle=False) as held:
        return {key: held[key] for key in held.files}


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path} is absent. Its folder's README names the source and the conversion; "
            "put it there, or name another folder with --data"
        )
    return path


def _nonempty(records: list[T], name: str, split: Split) -> list[T]:
    if not records:
        raise DataError(f"{name} has no rows of the split {split!r}; compare SHA256SUMS")
    return records
