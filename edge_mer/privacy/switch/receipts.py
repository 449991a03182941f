"""Receipts on disk: one JSON line each, hash-chained and signed. Verified without the switch.

The newest are in ``receipts.jsonl``; full files are renamed to ``receipts.N.jsonl``, N being their first receipt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.privacy.keys.signing import is_signed

FILE = "receipts.jsonl"
FULL = re.compile(r"receipts\.(\d{1,18})\.jsonl")
LONGEST_LINE = 64_000


@dataclass(frozen=True, slots=True)
class ChainHead:
    """How many receipts there are, and the hash of the last line ("" before the first)."""

    count: int = 0
    hash: str = ""


class ChainChecker:
    """Checks receipts line by line: form, order, chain, signature; and whether the chain went through ``known``."""

    def __init__(self, key: Ed25519PublicKey, known: ChainHead | None = None) -> None:
        self.begin = self.head = ChainHead()
        self.count = 0
        self._key, self._known = key, known
        self._passed_known = False

    @property
    def continues(self) -> bool:
        """Whether the chain went through the known head; what was written later does not matter."""
        return self._known is None or self._passed_known or self._known == self.begin

    def add(self, where: str, line: bytes) -> Receipt:
        """Raises PrivacyError that begins with ``where`` and says what is wrong."""
        try:
            receipt = msgspec.json.decode(line, type=Receipt)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{where}: it is no receipt ({error})") from error
        if not is_signed(self._key, receipt) or msgspec.json.encode(receipt) != line:
            raise PrivacyError(f"{where}: it is not what this host's switch signed")
        if self.count and ChainHead(receipt.number, receipt.previous) != self.head:
            raise PrivacyError(
                f"{where}: receipt {receipt.number} does not follow the line before it "
                f"(a line was removed, added or moved)"
            )
        if receipt.number == 0 and receipt.previous:
            raise PrivacyError(f"{where}: the first receipt follows another")
        if not self.count:
            self.begin = ChainHead(receipt.number, receipt.previous)
        self.count += 1
        self.head = ChainHead(receipt.number + 1, line_hash(line))
        self._passed_known |= self.head == self._known
        return receipt


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good file holds."""

    receipts: tuple[Receipt, ...]
    first: int
    head: ChainHead


def receipt_files(directory: Path) -> list[Path]:
    """All files of the chain, oldest first."""
    names = [(FULL.fullmatch(path.name), path) for path in directory.glob("receipts.*.jsonl")]
    full = sorted((int(found[1]), path) for found, path in names if found)
    newest = directory / FILE
    return [path for _, path in full] + ([newest] if newest.exists() else [])


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each line and where it is. Raises PrivacyError for a file that cannot be read or ends within a line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                where = f"{path}: line {number}"
                if not line.endswith(b"\n"):
                    raise PrivacyError(f"{where}: it is cut short")
                yield where, line[:-1]
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror}") from error


def line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def verify(path: Path, key: Ed25519PublicKey, head: ChainHead | None = None) -> Verified:
    """Check every line of one file of receipts; with ``head``, that none is missing.

    Raises PrivacyError naming the first bad line and what is wrong with it.
    """
    checker = ChainChecker(key, head)
    receipts = tuple(checker.add(where, line) for where, line in lines_of(path))
    _check_end(checker, path, len(receipts), head)
    return Verified(receipts, checker.begin.count, checker.head)


def verify_all(directory: Path, key: Ed25519PublicKey, head: ChainHead | None = None) -> Iterator[Receipt]:
    """Every receipt of a state directory, oldest first, each checked as in ``verify``, and all in one chain."""
    checker = ChainChecker(key, head)
    files = receipt_files(directory) or [directory / FILE]
    for path in files:
        before = checker.count
        for where, line in lines_of(path):
            yield checker.add(where, line)
    _check_end(checker, files[-1], checker.count - before, head)


def _check_end(checker: ChainChecker, path: Path, lines: int, head: ChainHead | None) -> None:
    if head is not None and not checker.continues:
        raise PrivacyError(
            f"{path}: line {lines + 1}: missing; the switch wrote {head.count} receipts, these end at "
            f"{checker.head.count}"
        )
