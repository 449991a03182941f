"""WordPiece sub-words (Schuster and Nakajima 2012) as BERT's uncased tokenizer makes them (Devlin et al. 2019)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edge_mer.contract.errors import ModelError

PAD, UNK, CLS, SEP = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Longer words are one unknown piece, as in BERT.
LONGEST_WORD: Final = 100
_IDEOGRAPHS: Final = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Maps text to sub-word ids. ``pieces``: the vocabulary in the order of its ids; ``##`` marks the inside of a word.

    Raises ModelError for a vocabulary that has a piece twice or lacks a special one.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        if len(self._ids) < len(pieces) or not self._ids.keys() >= set(SPECIAL):
            raise ModelError(f"a WordPiece vocabulary needs distinct pieces, {', '.join(SPECIAL)} among them")
        self.unknown, self.start, self.separator = (self._ids[special] for special in (UNK, CLS, SEP))
        self._longest = max(len(piece) for piece in pieces)

    @classmethod
    def read(cls, path: Path) -> WordPiece:
        """One piece per line, UTF-8. Raises ModelError when the file is not usable."""
        try:
            return cls(path.read_text("utf-8").removesuffix("\n").split("\n"))
        except (OSError, UnicodeDecodeError, ModelError) as error:
            raise ModelError(
                f"{path}: not a usable WordPiece vocabulary ({error}); run: edge-mer models check"
            ) from error

    def __call__(self, word: str) -> list[int]:
        """``word`` may be a whole text."""
        return [piece for part in basic(word) for piece in self._split(part)]

    def __len__(self) -> int:
        return len(self._ids)

    def _split(self, word: str) -> list[int]:
        """Greedy: the longest piece that fits, from left to right; one unknown piece where none does."""
        found: list[int] = []
        start = 0 if len(word) <= LONGEST_WORD else -1
        while 0 <= start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                if (piece := self._ids.get(prefix + word[start:end])) is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                start = -1
        return found if start >= 0 else [self.unknown]


def basic(text: str) -> Iterator[str]:
    """Lower-case words without accents; each punctuation mark and each ideograph is a word of its own."""
    plain = unicodedata.normalize("NFD", "".join(map(_cleaned, text)))
    spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in plain.lower() if unicodedata.category(c) != "Mn")
    yield from spaced.split()


def _cleaned(c: str) -> str:
    if c in "\t\n\r" or unicodedata.category(c) == "Zs":
        return " "
    if unicodedata.category(c)[0] == "C" or c == "\ufffd":
        return ""
    return f" {c} " if any(low <= ord(c) <= high for low, high in _IDEOGRAPHS) else c


def _is_punctuation(c: str) -> bool:
    return unicodedata.category(c)[0] == "P" or (c.isascii() and not c.isalnum() and c > " " and c != "\x7f")
