"""Recordings of voices of many corpora as one list: who speaks, how, and where it comes from.

All but RAVDESS are stored as Opus of about 22 kbit/s, and so is RAVDESS before it is used (``through_opus``): else a
network could tell the corpora by their codec.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_mer.perception.encoder import SAMPLE_RATE
from pipelines.data.corpora import ACTED, DataError, ravdess

Samples = NDArray[np.float32]
Sex = Literal["f", "m", ""]
CODEC_BITS: Final = 22_000
# Corpora with an index.csv. Reading aloud and commands are not annotated: they are taken for neutral.
INDEXED: Final = ("tess", "nemo_pl", "emovo_it", "turev_tr", "urdu", "libri_multi", "speechocean", "wakewords")
EMOTIONAL: Final = ("ravdess", "tess", "nemo_pl", "emovo_it", "turev_tr", "urdu")
NEUTRAL: Final = ("libri_multi", "speechocean", "wakewords")
CHILD_YEARS: Final = 12
FOLDS: Final = 5
DEV_FOLD: Final = FOLDS - 1
_NEUTRAL_TASK: Final = ("neutral_read", "neutral_command")


@dataclass(frozen=True, slots=True)
class Voice:
    """One clip. ``label`` is one of ACTED; ``speaker`` is unique over all corpora; ``strong`` of RAVDESS alone.

    ``sex`` and ``age`` (years) are empty and None where nobody wrote them down.
    """

    path: Path
    corpus: str
    speaker: str
    label: str
    sex: Sex = ""
    age: int | None = None
    strong: bool = False

    @property
    def child(self) -> bool:
        return self.age is not None and self.age <= CHILD_YEARS

    def samples(self) -> Samples:
        """float32 [n], 16 kHz mono, as through the codec that all corpora share."""
        samples, rate = soundfile.read(self.path, dtype="float32")
        if rate != SAMPLE_RATE or samples.ndim != 1:
            raise DataError(f"{self.path}: {rate} Hz, {samples.ndim}-D; expected 16 kHz mono")
        return through_opus(samples) if self.corpus == "ravdess" else np.asarray(samples, np.float32)


def voices(root: Path, corpora: tuple[str, ...] = (*EMOTIONAL, *NEUTRAL)) -> list[Voice]:
    """Every clip of ``corpora``. Raises DataError for one that is absent or has a label that is none of ACTED."""
    return [v for name in corpora for v in (_ravdess(root) if name == "ravdess" else _indexed(root / name))]


def _ravdess(root: Path) -> Iterator[Voice]:
    for split in ("train", "dev"):
        for s in ravdess(root, split):
            sex: Sex = "m" if s.actor % 2 else "f"
            strong = s.path.stem.split("-")[3] == "02"
            yield Voice(s.path, "ravdess", f"ravdess {s.actor:02}", ACTED[s.acted], sex, None, strong)


def _indexed(folder: Path) -> Iterator[Voice]:
    index = folder / "index.csv"
    if not index.is_file():
        raise DataError(f"{index} is absent. ../shared/data/README_turn2.md names the source")
    with index.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            label = "neutral" if row["emotion"] in _NEUTRAL_TASK else row["emotion"]
            if label not in ACTED:
                raise DataError(f"{index}: label {label!r} is none of {', '.join(ACTED)}")
            yield Voice(
                folder / row["file"],
                folder.name,
                f"{folder.name} {_speaker(row)}",
                label,
                _SEXES.get(row.get("sex", ""), ""),
                int(row["age"]) if row.get("age") else None,
            )


_SEXES: Final[Mapping[str, Sex]] = {"f": "f", "female": "f", "m": "m", "male": "m"}


def _speaker(row: Mapping[str, str]) -> str:
    """Of wakewords nobody knows who speaks: each phrase stands for a speaker."""
    return row["phrase"] if row["speaker"] == "unknown" else row["speaker"]


def fold_of(voices: Sequence[Voice]) -> NDArray[np.int64]:
    """A fold [n] of FOLDS for each clip, never two for a speaker: RAVDESS four actors at a time, so that DEV_FOLD holds
    its dev actors; the speakers of other corpora in turn. Nothing that ships is trained on DEV_FOLD."""
    order: dict[str, dict[str, int]] = {}
    for v in voices:
        order.setdefault(v.corpus, {}).setdefault(v.speaker, len(order[v.corpus]))
    return np.array(
        [
            (int(v.speaker.split()[1]) - 1) // 4 if v.corpus == "ravdess" else order[v.corpus][v.speaker] % FOLDS
            for v in voices
        ],
        np.int64,
    )


def reserved(voices: Sequence[Voice]) -> NDArray[np.bool_]:
    """Clips [n] of a fifth of the speakers of neutral sets, who settle the prior of a head and are not trained on."""
    order: dict[str, int] = {}
    for v in voices:
        if v.corpus in NEUTRAL:
            order.setdefault(v.speaker, len(order))
    return np.array([v.speaker in order and order[v.speaker] // 5 % 5 == 0 for v in voices])


def through_opus(samples: Samples, bits: int = CODEC_BITS) -> Samples:
    """``samples`` after encoding and decoding with libopus at ``bits`` per second, as long as before."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", bit_rate=bits)
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    file.seek(0)
    decoded, rate = soundfile.read(file, dtype="float32")
    if rate != SAMPLE_RATE:
        raise DataError(f"Opus came back at {rate} Hz, expected {SAMPLE_RATE}")
    return np.pad(np.asarray(decoded, np.float32), (0, max(0, len(samples) - len(decoded))))[: len(samples)]
