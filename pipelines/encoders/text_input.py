"""Sentences as the text encoder reads them: sub-words with and without punctuation, and batches of them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.perception.text import SentencePiece
from pipelines.data.corpora import FINE, NO_ORDINAL, Sentence

LENGTH: Final = 24
PAD, UNK = 0, 1
# Speech recognizers write no punctuation: half of the training texts have none either.
_BARE: Final = str.maketrans("", "", string.punctuation.replace("'", ""))


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """``full`` and ``bare`` hold the sub-words with and without punctuation; targets as in Sentence."""

    full: list[list[int]]
    bare: list[list[int]]
    emotion: NDArray[np.int64]
    ordinal: NDArray[np.int64]
    score: NDArray[np.float32]
    source: NDArray[np.str_]
    fine: NDArray[np.float32]


def bare(text: str) -> str:
    """``text`` as a recognizer would write it: without punctuation."""
    return text.translate(_BARE)


def encode(tokenizer: SentencePiece, rows: Sequence[Sentence]) -> Texts:
    """Sub-words word by word, as the device makes them."""

    def pieces(text: str) -> list[int]:
        return [piece for word in text.split() for piece in tokenizer(word)] or [UNK]

    return Texts(
        full=[pieces(r.text) for r in rows],
        bare=[pieces(bare(r.text)) for r in rows],
        emotion=np.array([r.emotion for r in rows]),
        ordinal=np.array([NO_ORDINAL if r.ordinal is None else r.ordinal for r in rows]),
        score=np.array([r.score for r in rows], np.float32),
        source=np.array([r.source for r in rows]),
        fine=np.array([[name in r.fine for name in FINE] for r in rows], np.float32),
    )


def batch(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """The newest 24 sub-words of each text, right-aligned: ids int64 [B, 24], mask float32 [B, 24]."""
    out, mask = np.zeros((len(ids), LENGTH), np.int64), np.zeros((len(ids), LENGTH), np.float32)
    for row, text in enumerate(ids):
        newest = text[-LENGTH:]
        out[row, LENGTH - len(newest) :], mask[row, LENGTH - len(newest) :] = newest, 1
    return torch.from_numpy(out), torch.from_numpy(mask)
