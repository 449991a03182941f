"""Tokens of voices by heads that were not trained on their speakers: what fusion learns from.

On the speakers that an encoder was trained on it is surer than on a stranger. ``python -m pipelines.train voice``
therefore trains one more head for each fold of speakers, and keeps what it makes of that fold (UNSEEN); and one for
each corpus, without it (ABROAD).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data.corpora import DataError
from pipelines.data.files import draft
from pipelines.data.voices import Voice

UNSEEN: Final = "voice_unseen.npz"
ABROAD: Final = "voice_abroad.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """Of windows: ``values`` float32 [n, d], the ``clip`` [n] of ``voices`` that it is of, whether it was ``moved`` [n]
    to another room, and which ``token`` [n] of the recording it is, two a second."""

    values: NDArray[np.float32]
    clip: NDArray[np.int64]
    moved: NDArray[np.bool_]
    token: NDArray[np.int64]
    voices: Sequence[Voice]

    def write(self, path: Path) -> str:
        """Writes all but the voices; returns the first 16 hex digits of the file's sha256."""
        with draft(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, values=self.values, clip=self.clip, moved=self.moved, token=self.token)
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path, voices: Sequence[Voice], named: str) -> Unseen:
        """Raises DataError for a file that is absent or not that ``named`` by the voice encoder."""
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest()[:16] != named:
            raise DataError(f"{path}: absent, or of another voice encoder; run: python -m pipelines.train voice")
        with np.load(path, allow_pickle=False) as file:
            return cls(file["values"], file["clip"], file["moved"], file["token"], voices)


def joined(parts: Sequence[Unseen]) -> Unseen:
    """All windows of ``parts``, which are of the same voices."""
    values, clip, moved, token = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "clip", "moved", "token")
    )
    return Unseen(values, clip, moved, token, parts[0].voices)
