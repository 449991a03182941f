"""Feature sets as typed records, checked when they are read: CMU-MOSI utterances, RAVDESS clips, MELD utterances.

Any file of the same layout can be read, so that splits that are kept apart can be scored later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import MODALITIES, Modality
from pipelines.data import literature, sequences
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN, DataError
from pipelines.data.feature_specs import FeatureSpec, layout_of

Floats = NDArray[np.float32]
Table = Mapping[str, NDArray[Any]]
LIMIT: Final = 3.0
# Sequences of MMSA have no times; a word takes about this long.
TOKEN_S: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """``n`` utterances or clips of one set.

    ``vectors[m]`` float32 [n, d]: one vector per row. ``tokens[m]`` float32 [n, T, e], ``mask[m]`` [n, T] (1 = valid)
    and ``age[m]`` [n, T] seconds before the end: the sequence of a row; T = 1 for utterance features. ``emotion`` int64
    [n] (-1: none), ``score`` float32 [n] in [-3, 3] (NaN: none), ``ordinal`` int64 [n] in -1, 0, 1 (9: none),
    ``group`` and ``split`` str [n], ``position`` int64 [n] in its group, ``fold`` int64 [n] (-1: none).
    """

    layout: FeatureSpec
    vectors: Mapping[Modality, Floats]
    tokens: Mapping[Modality, Floats]
    mask: Mapping[Modality, Floats]
    age: Mapping[Modality, Floats]
    emotion: NDArray[np.int64]
    score: Floats
    ordinal: NDArray[np.int64]
    group: NDArray[np.str_]
    position: NDArray[np.int64]
    split: NDArray[np.str_]
    fold: NDArray[np.int64]
    sha256: str

    def __len__(self) -> int:
        return len(self.group)

    @property
    def dims(self) -> dict[Modality, int]:
        """Width of a token of each modality that the set has."""
        return {m: self.tokens[m].shape[2] for m in MODALITIES if m in self.tokens}

    @property
    def lengths(self) -> dict[Modality, int]:
        """Tokens of a row, valid or not, of each modality that the set has."""
        return {m: self.tokens[m].shape[1] for m in MODALITIES if m in self.tokens}


def read(name: str, source: Path, modalities: Iterable[Modality] | None = None, labelled: bool = True) -> Rows:
    """The set ``name`` from the folder of all sets, or of one that researchers share, or from one file of its layout.

    Only ``modalities`` (all that the set has by default) are present: the others may hold anything. Raises DataError
    that names the array, the row and what was expected.
    """
    layout = layout_of(name)
    path = source if source.suffix in (".npz", ".pkl") else source / layout.file
    table = _table(path, layout)
    count = len(_array(table, layout.group, path))
    if count == 0:
        raise DataError(f"{path}: no rows; expected at least one")
    present = [m for m in MODALITIES if m in layout.arrays and (modalities is None or m in set(modalities))]
    vectors = {m: _features(table, layout, m, count, path) for m in present}
    vectors, tokens, mask, age = _sequences(table, layout, vectors, path)
    emotion, score, ordinal = _labels(table, layout, count, path, labelled)
    return Rows(
        layout,
        vectors,
        tokens,
        mask,
        age,
        emotion,
        score,
        ordinal,
        table[layout.group].astype(np.str_),
        _integers(table, layout.position, count, path) if layout.position else np.arange(count),
        table["split"].astype(np.str_) if "split" in table else np.full(count, ""),
        _integers(table, "fold", count, path) if "fold" in table else np.full(count, UNKNOWN),
        _sha256(table, layout, path),
    )


def _table(path: Path, layout: FeatureSpec) -> Table:
    if not path.is_file():
        raise DataError(
            f"{layout.name}: {path} is absent. Get it: {layout.get}; its folder's README has the conversion. "
            "Put it there, or name another folder or .npz file with --data"
        )
    if layout.reader:
        return literature.READERS[layout.reader](path)
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _sha256(table: Table, layout: FeatureSpec, path: Path) -> str:
    """Of the file; where the features are in files of their own, of what was read."""
    if layout.reader is None:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for name in sorted(table):
        whole.update(name.encode() + np.ascontiguousarray(table[name]).tobytes())
    return whole.hexdigest()


def _array(table: Table, name: str, path: Path) -> NDArray[Any]:
    if name not in table:
        raise DataError(f"{path}: array {name!r} is absent; the file has {', '.join(sorted(table))}")
    return table[name]


def _features(table: Table, layout: FeatureSpec, modality: Modality, count: int, path: Path) -> Floats:
    name, width = layout.arrays[modality], layout.widths.get(modality)
    values = _array(table, name, path)
    if width is None:
        return _finite(values, name, path)
    if values.shape != (count, width) or values.dtype.kind != "f":
        raise DataError(f"{path}: {name} is {values.dtype}{list(values.shape)}; expected floats [{count}, {width}]")
    return _finite(values.astype(np.float32), name, path)


def _finite(values: Floats, name: str, path: Path) -> Floats:
    wrong = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
    if len(wrong):
        raise DataError(f"{path}: {name} row {wrong[0]} holds NaN or Inf; expected finite numbers where it is present")
    return values


def _integers(table: Table, name: str, count: int, path: Path) -> NDArray[np.int64]:
    values = _array(table, name, path)
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(f"{path}: {name} is {values.dtype}{list(values.shape)}; expected integers [{count}]")
    return values.astype(np.int64)


def _classes(table: Table, name: str, count: int, path: Path, classes: int) -> NDArray[np.int64]:
    values = _integers(table, name, count, path)
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if len(wrong):
        raise DataError(f"{path}: {name} row {wrong[0]} is {values[wrong[0]]}; expected 0 to {classes - 1}")
    return values


def _labels(
    table: Table, layout: FeatureSpec, count: int, path: Path, labelled: bool
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    emotion, ordinal = np.full(count, UNKNOWN, np.int64), np.full(count, NO_ORDINAL, np.int64)
    score = np.full(count, np.nan, np.float32)
    if layout.emotions and labelled:
        emotion = _classes(table, "emotion", count, path, len(layout.emotions))
        names = tuple(str(n) for n in table["emotion_names"]) if "emotion_names" in table else layout.emotions
        if names != layout.emotions:
            raise DataError(f"{path}: emotion_names are {', '.join(names)}; expected {', '.join(layout.emotions)}")
    if layout.sentiment == "ordinal" and labelled:
        ordinal = _classes(table, "sentiment", count, path, 3) - 1
    if layout.sentiment == "score" and labelled:
        values = _array(table, "sentiment", path) * np.float32(layout.scale)
        if values.shape != (count,) or values.dtype.kind != "f":
            raise DataError(f"{path}: sentiment is {values.dtype}{list(values.shape)}; expected floats [{count}]")
        wrong = np.flatnonzero(~(np.abs(values) <= LIMIT))
        if len(wrong):
            raise DataError(f"{path}: sentiment row {wrong[0]} is {values[wrong[0]]}; expected -3 to 3")
        score = values.astype(np.float32)
    return emotion, score, ordinal


def _sequences(
    table: Table, layout: FeatureSpec, given: Mapping[Modality, Floats], path: Path
) -> tuple[dict[Modality, Floats], dict[Modality, Floats], dict[Modality, Floats], dict[Modality, Floats]]:
    """Vectors, tokens, mask, age. Utterance features are sequences of one token; RAVDESS has its own.

    The vector of a sequence of MMSA is its mean.
    """
    vectors, tokens, mask, age = dict(given), {}, {}, {}
    for m, vector in given.items():
        if (lengths := table.get(f"{m}_length")) is not None:
            left = lengths[:, None] - np.arange(vector.shape[1])
            tokens[m], mask[m] = vector, (left > 0).astype(np.float32)
            age[m] = np.maximum((left - 1) * TOKEN_S, 0).astype(np.float32)
            vectors[m] = (vector * mask[m][..., None]).sum(1) / lengths[:, None].astype(np.float32)
        elif layout.name == "ravdess":
            vectors[m], (tokens[m], mask[m], age[m]) = sequences.of_ravdess(m, table, path, vector)
            _finite(tokens[m], f"tokens of {m}", path)
        else:
            tokens[m] = vector[:, None]
            mask[m], age[m] = np.ones((len(vector), 1), np.float32), np.zeros((len(vector), 1), np.float32)
    return vectors, tokens, mask, age
