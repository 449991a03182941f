"""Receipts on disk: one JSON line each, hash-chained and signed, only ever appended to. Verified without the switch."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.privacy.keys.signing import is_signed, sign

FILE = "receipts.jsonl"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """How many receipts there are, and the hash of the last line ("" before the first)."""

    count: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good file holds, and the hash of each line."""

    receipts: tuple[Receipt, ...]
    hashes: tuple[str, ...]

    @property
    def first(self) -> int:
        return self.receipts[0].number if self.receipts else 0

    @property
    def head(self) -> ChainHead:
        return ChainHead(self.receipts[-1].number + 1, self.hashes[-1]) if self.receipts else ChainHead()

    def continues(self, known: ChainHead) -> bool:
        """Whether the chain went through ``known``: what was written later does not matter."""
        if not self.receipts or known.count <= self.first:
            first = self.receipts[0].previous if self.receipts else ""
            return known == ChainHead(self.first, first)
        place = known.count - self.first - 1
        return place < len(self.hashes) and self.hashes[place] == known.hash


class ReceiptLog:
    """Appends to the chain. What is on the disk and does not continue the known head is set aside, never repaired."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey, head: ChainHead) -> None:
        self.path = directory / FILE
        self.note: str | None = None
        self._key = key
        self.head = self._find_head(head)

    def append(self, receipt: Receipt) -> Receipt:
        """Number, chain, sign and write it through to the disk. Raises OSError; then the file is as before."""
        signed = sign(self._key, msgspec.structs.replace(receipt, number=self.head.count, previous=self.head.hash))
        line = msgspec.json.encode(signed)
        fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            try:
                if os.write(fd, line + b"\n") != len(line) + 1:
                    raise OSError(f"{self.path}: the disk took a part of the receipt only")
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)
        self.head = ChainHead(self.head.count + 1, line_hash(line))
        return signed

    def _find_head(self, known: ChainHead) -> ChainHead:
        """The end of the file. It may be ahead of ``known``, for a receipt is written before the state."""
        if not self.path.exists():
            if known.count:
                self.note = f"{self.path} is gone; {known.count} receipts were in it"
            return known
        self._cut_unfinished_line()
        try:
            found = verify(self.path, self._key.public_key())
            if found.continues(known):
                return found.head if found.receipts else known
            reason = f"it ends at receipt {found.head.count}, the switch wrote {known.count}"
        except PrivacyError as error:
            reason = str(error)
        aside = self.path.with_suffix(f".damaged-{os.stat(self.path).st_mtime_ns}.jsonl")
        self.path.rename(aside)
        self.note = f"the receipts were damaged and set aside as {aside.name}: {reason}"
        return known

    def _cut_unfinished_line(self) -> None:
        """A crash in the middle of a write leaves a part of a line, which nobody was ever told of."""
        with self.path.open("rb+") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                file.truncate(end)


def line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def verify(path: Path, key: Ed25519PublicKey, head: ChainHead | None = None) -> Verified:
    """Check every line of a file of receipts: form, order, chain, signature; with ``head``, that none is missing.

    Raises PrivacyError naming the first bad line and what is wrong with it.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise PrivacyError(f"{path} cannot be read: {error.strerror}") from error
    if lines.pop() != b"":
        raise PrivacyError(f"{path}: line {len(lines) + 1}: it is cut short")
    found, hashes = list[Receipt](), list[str]()
    for number, line in enumerate(lines, 1):
        receipt = _checked(f"{path}: line {number}", line, key)
        expected = found[-1].number + 1 if found else receipt.number
        if receipt.number != expected or (hashes and receipt.previous != hashes[-1]):
            raise PrivacyError(
                f"{path}: line {number}: receipt {receipt.number} does not follow the line before it "
                f"(a line was removed, added or moved)"
            )
        if receipt.number == 0 and receipt.previous:
            raise PrivacyError(f"{path}: line {number}: the first receipt follows another")
        found.append(receipt)
        hashes.append(line_hash(line))
    verified = Verified(tuple(found), tuple(hashes))
    if head is not None and not verified.continues(head):
        raise PrivacyError(
            f"{path}: line {len(lines) + 1}: missing; the switch wrote {head.count} receipts, these end at "
            f"{verified.head.count}"
        )
    return verified


def _checked(where: str, line: bytes, key: Ed25519PublicKey) -> Receipt:
    try:
        receipt = msgspec.json.decode(line, type=Receipt)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PrivacyError(f"{where}: it is no receipt ({error})") from error
    if not is_signed(key, receipt) or msgspec.json.encode(receipt) != line:
        raise PrivacyError(f"{where}: it is not what this host's switch signed")
    return receipt
