"""The switch's own receipts: appended to the chain, started from its tail, verified from its beginning in slices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import UNSET

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.host.files import append_private, move
from edge_mer.privacy.keys.signing import is_signed, sign
from edge_mer.privacy.switch.receipts import FILE, ChainChecker, ChainHead, line_hash, lines_of, receipt_files

MOST_LINES = 10_000
# What a start verifies: about 90 receipts. The rest follows in slices.
TAIL_BYTES = 64_000
# Where the last receipt of each modality is looked for, in each of the two newest files.
SEARCH_BYTES = 8_000_000
SLICE = 20


class ReceiptLog:
    """Appends to the chain. What is on the disk and does not continue the known head is set aside, never repaired.

    ``newest``: the last receipt of each modality, as far as it is signed. ``of_persons``: the last one of a mask of
    single persons, or none. ``note``: what was wrong with the files.
    """

    def __init__(self, directory: Path, key: Ed25519PrivateKey, known: ChainHead | None) -> None:
        self.path = directory / FILE
        self.note: str | None = None
        self.is_verified = True
        self._directory, self._key = directory, key
        self._cut_unfinished_line()
        self.newest, self.of_persons = _newest(receipt_files(directory)[-2:], key.public_key())
        self.head = self._find_head(known)
        self._first = _first_number(self.path, self.head.count)

    def append(self, receipt: Receipt) -> Receipt:
        """Number, chain, sign and write it through to the disk. Raises OSError; then the file is as before."""
        if not self.path.exists():
            self._first = self.head.count
        elif self.head.count - self._first >= MOST_LINES:
            move(self.path, self.path.with_name(f"receipts.{self._first}.jsonl"))
            self._first = self.head.count
        signed = sign(self._key, msgspec.structs.replace(receipt, number=self.head.count, previous=self.head.hash))
        line = msgspec.json.encode(signed)
        append_private(self.path, line + b"\n")
        self.head = ChainHead(self.head.count + 1, line_hash(line))
        return signed

    def _find_head(self, known: ChainHead | None) -> ChainHead:
        """The end of the chain. It may be ahead of ``known``, for a receipt is written before the state."""
        files = receipt_files(self._directory)
        if not files:
            if known is not None and known.count:
                self._add_note(f"{self.path} is gone; {known.count} receipts were in it")
            return known or ChainHead()
        path = files[-1]
        tail, is_whole = _tail(path)
        checker = ChainChecker(self._key.public_key(), known)
        try:
            for where, line in tail:
                checker.add(where, line)
            reaches_back = is_whole and len(files) == 1
            is_older = known is not None and known.count < checker.begin.count and not reaches_back
            if checker.continues or is_older:
                self.is_verified = reaches_back
                return checker.head if checker.count else known or ChainHead()
            assert known is not None
            reason = f"it ends at receipt {checker.head.count}, the switch wrote {known.count}"
        except PrivacyError as error:
            reason = str(error)
        aside = path.with_name(f"receipts.damaged-{os.stat(path).st_mtime_ns}.jsonl")
        move(path, aside)
        self._add_note(f"the receipts were damaged and set aside as {aside.name}: {reason}")
        return known if known is not None else self._find_head(None)

    def _add_note(self, text: str) -> None:
        self.note = f"{self.note}; {text}" if self.note else text

    def _cut_unfinished_line(self) -> None:
        """A crash in the middle of a write leaves a part of a line, which was given to no reader."""
        if not self.path.exists():
            return
        start, data = _end_of(self.path, TAIL_BYTES)
        end = data.rfind(b"\n") + 1
        if end < len(data) and (end or not start):
            os.truncate(self.path, start + end)


class ReceiptAudit:
    """Verifies the whole chain up to ``end`` in slices, so that the switch answers meanwhile.

    ``fault``: what is wrong with it, empty as long as nothing was found.
    """

    def __init__(self, directory: Path, key: Ed25519PublicKey, end: ChainHead) -> None:
        self.fault = ""
        self._directory, self._end = directory, end
        self._checker = ChainChecker(key, end)
        self._lines: Iterator[tuple[str, bytes]] = iter(())
        self._is_done = False

    @property
    def is_done(self) -> bool:
        return bool(self.fault) or self._is_done

    @property
    def progress(self) -> str:
        return f"{self._checker.head.count} of {self._end.count} receipts are verified"

    def turn(self) -> None:
        """Check the next slice."""
        try:
            for _ in range(SLICE):
                if self.is_done:
                    return
                self._step()
        except PrivacyError as error:
            self.fault = str(error)

    def _step(self) -> None:
        if self._checker.head.count >= self._end.count:
            self._is_done = True
            if not self._checker.continues:
                raise PrivacyError(f"receipt {self._end.count - 1} is not the one that the switch wrote")
            return
        found = next(self._lines, None)
        if found is not None:
            self._checker.add(*found)
            return
        # Looked up now, because a full file is renamed.
        files = receipt_files(self._directory)
        path = next((f for f in files if _first_number(f, 0) >= self._checker.head.count), None)
        if path is None:
            raise PrivacyError(f"{self._directory}: receipts from {self._checker.head.count} on are missing")
        self._lines = lines_of(path)


def _end_of(path: Path, most: int) -> tuple[int, bytes]:
    """The last bytes of a file, and where they start."""
    with path.open("rb") as file:
        start = max(0, os.fstat(file.fileno()).st_size - most)
        file.seek(start)
        return start, file.read()


def _tail(path: Path) -> tuple[list[tuple[str, bytes]], bool]:
    """The last whole lines, each with where it is, and whether they are all of the file."""
    start, data = _end_of(path, TAIL_BYTES)
    lines = data.split(b"\n")
    cut = lines.pop()
    if start:
        lines = lines[1:]
        found = [(f"{path}: line {len(lines) - n} from the end", line) for n, line in enumerate(lines)]
    else:
        found = [(f"{path}: line {n}", line) for n, line in enumerate(lines, 1)]
    if cut:
        raise PrivacyError(f"{path}: line {len(lines) + 1}: it is cut short")
    return found, not start


def _newest(files: list[Path], key: Ed25519PublicKey) -> tuple[dict[Modality, Receipt], tuple[Receipt, ...]]:
    """The last signed receipt of each modality, and of persons, also where lines around it are damaged."""
    found: dict[Modality, Receipt] = {}
    of_persons: tuple[Receipt, ...] = ()
    for path in reversed(files):
        _, data = _end_of(path, SEARCH_BYTES)
        for modality in MODALITIES:
            at = len(data)
            while modality not in found and (at := data.rfind(b'"modality":"%b"' % modality.encode(), 0, at)) >= 0:
                line = data[data.rfind(b"\n", 0, at) + 1 :].partition(b"\n")[0]
                try:
                    receipt = msgspec.json.decode(line, type=Receipt)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if not is_signed(key, receipt):
                    continue
                if receipt.persons is UNSET:
                    found[modality] = receipt
                else:
                    of_persons = of_persons or (receipt,)
    return found, of_persons


def _first_number(path: Path, otherwise: int) -> int:
    """The number of the first receipt in a file."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.readline(TAIL_BYTES), type=Receipt).number
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return otherwise
