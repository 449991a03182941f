"""Feature files that researchers share, as tables of the layout that ``pipelines.data.feature_sets`` reads.

* ``gcnet``: a folder of one .npy per utterance and modality, and a pickle of labels (GCNet, Lian et al. 2023; MoMKE,
  MCULoRA and ComP use the same release);
* ``mmsa``: ``aligned_50.pkl`` and ``unaligned_50.pkl`` of MMSA (Yu et al. 2021; CMU-MOSI, CMU-MOSEI, CH-SIMS);
* ``conversation``: the pickles of MMGCN and its successors (Hu et al. 2021; MELD, IEMOCAP).

Tables: features float32 [n, d], or [n, T, d] with ``<name>_length`` int64 [n]; ``group`` and ``split`` str [n],
``position`` int64 [n] in its group, ``speaker`` str [n] where known, ``fold`` int64 [n] of the session where there are
any, and the labels as ``emotion`` int64 [n] or ``sentiment`` float32 [n].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data import restricted_pickle
from pipelines.data.corpora import DataError

Table = dict[str, NDArray[Any]]
GCNET_FEATURES: Final = {"audio": "wav2vec-large-c-UTT", "text": "deberta-large-4-UTT", "video": "manet_UTT"}
MMSA_PARTS: Final = {"train": "train", "valid": "dev", "test": "test"}
# Alike for every reader: unaligned sequences are cut into this many equal parts, whose means are the tokens.
TOKENS: Final = 50


def gcnet(path: Path) -> Table:
    """``path``: the pickle of labels; the features lie in ``features/<name>/<utterance>.npy`` beside it.

    A pickle of seven parts has official splits; one of six (IEMOCAP) has sessions, ``Ses01`` to ``Ses05``.
    """
    parts = restricted_pickle.read(path)
    if len(parts) not in (6, 7):
        raise DataError(f"{path} has {len(parts)} parts; expected 7 (CMU-MOSI, CMU-MOSEI) or 6 (IEMOCAP)")
    utterances, labels, speakers = parts[:3]
    table = _conversations(utterances, labels, speakers, _of_gcnet(path, parts), path)
    for modality, name in GCNET_FEATURES.items():
        folder = path.parent / "features" / name
        table[modality] = np.stack([_utterance(folder, u) for u in table["name"]])
    return table


def _of_gcnet(path: Path, parts: Sequence[Any]) -> Mapping[str, str]:
    """The split of each conversation; none is official where there are sessions."""
    if len(parts) == 6:
        return {str(v): "" for v in parts[0]}
    return _official(path, dict(zip(("train", "dev", "test"), parts[4:], strict=True)))


def _official(path: Path, parts: Mapping[str, Iterable[Any]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part, conversations in parts.items():
        for v in map(str, conversations):
            if v in found:
                raise DataError(f"{path}: {v} is in {found[v]} and in {part}; expected disjoint splits")
            found[v] = part
    return found


def conversation(path: Path) -> Table:
    """A pickle of 12 parts (IEMOCAP) or 13 (MELD); a text is the mean of its four layers of RoBERTa."""
    parts = restricted_pickle.read(path)
    if len(parts) not in (12, 13):
        raise DataError(f"{path} has {len(parts)} parts; expected 12 (IEMOCAP) or 13 (MELD)")
    utterances, speakers, labels, *features, train, test = parts[:12]
    texts, audio, visual = features[:4], features[4], features[5]
    split = _official(path, {"train": train, "test": test})
    table = _conversations(utterances, labels, speakers, split, path)
    named = list(dict.fromkeys(table["group"].tolist()))
    of = {"audio": [audio], "video": [visual], "text": texts}
    for modality, layers in of.items():
        mean = [np.mean([np.asarray(layer[_key(layer, v)], np.float32) for layer in layers], 0) for v in named]
        table[modality] = np.concatenate(mean).astype(np.float32)
    return table


def mmsa(path: Path) -> Table:
    """Sequences; longer ones are averaged into TOKENS parts. What is not finite (COVAREP's -inf) becomes 0."""
    whole = restricted_pickle.read(path)
    missing = [part for part in MMSA_PARTS if part not in whole]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; expected train, valid and test")
    tables = [_mmsa_part(whole[part], name, path) for part, name in MMSA_PARTS.items()]
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def _mmsa_part(part: Mapping[str, Any], split: str, path: Path) -> Table:
    names = [str(name) for name in part["id"]]
    count = len(names)
    table: Table = {
        # "video$_$3" in MMSA, "video_0003" in CH-SIMS.
        "group": np.array([name.replace("$_$", "_").rpartition("_")[0] or name for name in names]),
        "position": np.array([_number(name) for name in names]),
        "split": np.full(count, split),
        "sentiment": np.asarray(part["regression_labels"], np.float32).reshape(count),
    }
    for modality, name in {"audio": "audio", "video": "vision", "text": "text"}.items():
        values = np.asarray(part[name], np.float32)
        values[~np.isfinite(values)] = 0
        lengths = np.asarray(part.get(f"{name}_lengths", _used(values)), np.int64).reshape(count)
        if values.shape[1] > TOKENS:
            values, lengths = _pooled(values, lengths)
        table |= {modality: values, f"{modality}_length": np.maximum(lengths, 1)}
    return table


def _used(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Up to the last frame that is not 0."""
    some = np.abs(values).sum(2) > 0
    return np.where(some.any(1), values.shape[1] - some[:, ::-1].argmax(1), 1)


def _pooled(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    out = np.zeros((len(values), TOKENS, values.shape[2]), np.float32)
    for row, (frames, n) in enumerate(zip(values, lengths, strict=True)):
        parts = np.array_split(frames[: max(int(n), 1)], min(TOKENS, max(int(n), 1)))
        out[row, : len(parts)] = [part.mean(0) for part in parts]
    return out, np.minimum(lengths, TOKENS)


def _number(name: str) -> int:
    digits = name.replace("$_$", "_").rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def _key(table: Mapping[Any, Any], conversation_: str) -> Any:
    """MELD's conversations are numbers in the pickle."""
    return conversation_ if conversation_ in table else int(conversation_)


def _conversations(
    utterances: Mapping[Any, Any], labels: Mapping[Any, Any], speakers: Any, split: Mapping[str, str], path: Path
) -> Table:
    """Utterances in the order of the conversations that have a split; the others are left out."""
    rows: list[tuple[str, str, int, str, str, float]] = []
    for v in (v for v in utterances if str(v) in split):
        names, values = list(utterances[v]), np.asarray(labels[v], np.float64).ravel()
        if len(names) != len(values):
            raise DataError(f"{path}: {v} has {len(names)} utterances and {len(values)} labels; expected as many")
        for k, (name, value) in enumerate(zip(names, values, strict=True)):
            rows.append((str(name), str(v), k, split[str(v)], _speaker(speakers, v, k), float(value)))
    if not rows:
        raise DataError(f"{path}: no utterances")
    name, group, position, part, speaker, label = zip(*rows, strict=True)
    table: Table = {
        "name": np.array(name),
        "group": np.array(group),
        "position": np.array(position, np.int64),
        "split": np.array(part),
        "speaker": np.array(speaker),
    }
    if all(v.startswith("Ses") for v in group):
        table["fold"] = np.array([int(v[3:5]) - 1 for v in group], np.int64)
    # A class is written as a number too; the set knows which of the two its labels are.
    return table | {"emotion": np.array(label).astype(np.int64), "sentiment": np.array(label, np.float32)}


def _speaker(speakers: Any, v: Any, k: int) -> str:
    """A letter per utterance, or a row of a one-hot code; one speaker where the file names none."""
    given = speakers.get(v) if isinstance(speakers, Mapping) else None
    if given is None or isinstance(given, str) or k >= len(given):
        return str(given or "")
    one = given[k]
    return str(one) if isinstance(one, str) else str(int(np.argmax(one)))


def _utterance(folder: Path, name: str) -> NDArray[np.float32]:
    """One vector: a sequence [T, d] is averaged."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise DataError(f"{path} is absent; expected a vector for every utterance of the pickle of labels")
    values = np.load(path, allow_pickle=False).astype(np.float32)
    return np.asarray(values if values.ndim == 1 else values.reshape(-1, values.shape[-1]).mean(0), np.float32)


READERS: Final[Mapping[str, Callable[[Path], Table]]] = {"gcnet": gcnet, "mmsa": mmsa, "conversation": conversation}
