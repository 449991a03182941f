"""Labelled data of any of the known layouts, found by what a file holds: an npz, a CSV, or a folder of recordings.

npz: ``webp``, ``offsets``, ``label``, ``label_names`` (as fer2013), or ``audio_path``, ``emotion``, ``emotion_names``
(as ravdess_av, beside its sound files). CSV, also gzipped: ``text``, ``ekman`` (as goemotions), or ``Utterance``,
``Emotion`` (as meld_text). Folder: recordings and ``labels.csv`` with ``path``, ``emotion``.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, NAMES
from pipelines.data.corpora import DataError, unquoted
from pipelines.data.recordings import pictures_of, sound_of, words_of

Kind = Literal["audio", "face", "text"]
LABELS_FILE: Final = "labels.csv"
# Our seven, and calm, which only RAVDESS has.
SYNONYM: Final[Mapping[str, str]] = {**NAMES, "calm": "calm"}


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """``content()`` reads the recording: sound, frames, a crop uint8 [48, 48], or a text; ``label`` by our names."""

    content: Callable[[], Any]
    label: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """``split`` names the rows that were taken (None: all); ``left_out`` counts the labels that are none of ours.

    ``domain`` is the way in which texts were labelled.
    """

    rows: Sequence[LabelledItem]
    split: str | None
    left_out: Mapping[str, int]
    domain: str = "dialogue"


def read(kind: Kind, path: Path, split: str | None = None) -> Labelled:
    """Rows of ``split``; by default all but those of ``train``, where the file has splits.

    Raises DataError when ``path`` holds no layout of this kind or no row.
    """
    path = _found(kind, path)
    named, splits, domain = _READERS[".csv" if path.suffix == ".gz" else path.suffix](kind, path)
    if split is None:
        taken = [s != "train" for s in splits] if any(s != "train" for s in splits) else [True] * len(named)
    else:
        taken = [s == split for s in splits]
    there = [row for row, take in zip(named, taken, strict=True) if take]
    rows = [LabelledItem(content, label) for content, name in there if (label := SYNONYM.get(name.strip().lower()))]
    if not rows:
        has = f"; its splits are {', '.join(sorted(set(filter(None, splits))))}" if any(splits) else ""
        raise DataError(f"{path}: no row with one of the labels {', '.join(EMOTIONS)}{has}")
    chosen = split or ("all but train" if not all(taken) else None)
    left = Counter(name for _, name in there if name.strip().lower() not in SYNONYM)
    return Labelled(rows, chosen, dict(left), domain)


Named = list[tuple[Callable[[], Any], str]]
Found = tuple[Named, list[str | None], str]


def _found(kind: Kind, path: Path) -> Path:
    if path.is_dir():
        inside = [path / LABELS_FILE] if (path / LABELS_FILE).is_file() else sorted(path.glob("*.npz"))
        if len(inside) != 1:
            raise DataError(f"{path}: expected {LABELS_FILE} (columns path, emotion) or exactly one .npz file in it")
        return inside[0]
    if not path.is_file():
        raise DataError(f"{path} is absent; name an .npz, a .csv, or a folder with {LABELS_FILE}")
    if path.suffix not in _READERS and path.suffixes[-2:] != [".csv", ".gz"]:
        raise DataError(f"{path}: expected .npz, .csv or .csv.gz, or a folder with {LABELS_FILE}")
    return path


def _npz(kind: Kind, path: Path) -> Found:
    if kind not in _ARRAYS:
        raise DataError(f"{path}: an npz holds pictures or voices; {kind} is scored on a CSV or a folder")
    try:
        with np.load(path, allow_pickle=False) as table:
            held = {key: table[key] for key in table.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is no npz file without pickles: {error}") from error
    needed, names, label, make = _ARRAYS[kind]
    if absent := [key for key in (*needed, names, label) if key not in held]:
        raise DataError(f"{path}: {kind} needs the arrays {', '.join(absent)}; it has {', '.join(held)}")
    split = [str(s) for s in held["split"]] if "split" in held else [None] * len(held[label])
    if len(held[label]) and int(held[label].max()) >= len(held[names]):
        raise DataError(f"{path}: {label} counts up to {held[label].max()}, {names} names {len(held[names])}")
    named = [(make(held, i, path), str(held[names][held[label][i]])) for i in range(len(held[label]))]
    return named, list(split), "dialogue"


def _crop(held: Mapping[str, NDArray[Any]], i: int, path: Path) -> Callable[[], NDArray[np.uint8]]:
    def content() -> NDArray[np.uint8]:
        image = cv2.imdecode(held["webp"][held["offsets"][i] : held["offsets"][i + 1]], cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise DataError(f"{path}: picture {i} is damaged")
        return np.asarray(image, np.uint8)

    return content


def _voice(held: Mapping[str, NDArray[Any]], i: int, path: Path) -> Callable[[], NDArray[np.float32]]:
    return lambda: sound_of(path.parent / str(held["audio_path"][i]))


_ARRAYS: Final[Mapping[str, tuple[tuple[str, ...], str, str, Callable[..., Callable[[], Any]]]]] = {
    "face": (("webp", "offsets"), "label_names", "label", _crop),
    "audio": (("audio_path",), "emotion_names", "emotion", _voice),
}
_RECORDED: Final[Mapping[Kind, Callable[[Path], Any]]] = {
    "audio": sound_of,
    "face": pictures_of,
    "text": words_of,
}
# The columns of a table of texts, and the domain of their labels.
_TEXTS: Final = (("text", "ekman", "comment"), ("Utterance", "Emotion", "dialogue"))


def _csv(kind: Kind, path: Path) -> Found:
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path} is no UTF-8 table: {error}") from error
    columns = set(rows[0]) if rows else set()
    split = [row.get("split") or None for row in rows]
    if {"path", "emotion"} <= columns:
        make, folder = _RECORDED[kind], path.parent
        return [(partial(make, folder / row["path"]), row["emotion"] or "") for row in rows], split, "dialogue"
    for column, label, domain in _TEXTS:
        if kind == "text" and {column, label} <= columns:
            return [(partial(unquoted, row[column] or ""), row[label] or "") for row in rows], split, domain
    raise DataError(
        f"{path}: its columns are {', '.join(sorted(columns))}; {kind} needs path and emotion"
        + (", or Utterance and Emotion, or text and ekman" if kind == "text" else "")
    )


_READERS: Final[Mapping[str, Callable[[Kind, Path], Found]]] = {".npz": _npz, ".csv": _csv}
