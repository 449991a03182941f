"""When a room has proven that it is masked, and the joint receipts of the house. Pure but for ``JointLog``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from edge_mer.contract.control import Holds
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.host.files import append_private, move
from edge_mer.privacy.keys.signing import is_signed, public_from_hex, sign
from edge_mer.privacy.switch.receipts import line_hash

FILE = "house_receipts.jsonl"
# A full file is renamed to ``.1``, in place of the one before it.
MOST_BYTES = 50_000_000
LONGEST_LINE = 8_000_000


class RoomProof(Struct, frozen=True):
    """What a room answered to a mask with a challenge: its receipts, and that they are in force. ``host``: its key."""

    host: str
    holds: Holds
    receipts: tuple[Receipt, ...]


class JointReceipt(Struct, frozen=True):
    """Proof of a mask of the house: one proof per room, and of each room without one in ``missing`` why.

    It is complete only when ``missing`` is empty. ``previous`` is the sha256 of the line before; ``signature``
    (Ed25519, hex) by the key of the house's host. Times are wall time of that host.
    """

    number: int
    id: str
    requester: str
    asked_us: int
    until_us: int
    written_us: int
    rooms: dict[str, RoomProof]
    missing: dict[str, str]
    previous: str
    signature: str = ""


def proof_of(result: dict[str, Any], host: str) -> RoomProof:
    """The proof in the ``result`` of a room's answer. Raises PrivacyError where it holds none of this form."""
    try:
        holds = msgspec.convert(result.get("holds"), Holds)
        receipts = msgspec.convert(result.get("proofs", ()), tuple[Receipt, ...])
    except msgspec.ValidationError as error:
        raise PrivacyError(f"its answer holds no proof ({error}); does this room run an older edge_mer?") from error
    named = {held.receipt for held in holds.modalities.values()}
    return RoomProof(host, holds, tuple(r for r in receipts if r.number in named)[: len(MODALITIES)])


def fault_of(proof: RoomProof, challenges: frozenset[str], host: str) -> str | None:
    """Why this is no proof that every modality of the room ``host`` is masked now; None where it is one.

    ``challenges``: those that were sent to it with this mask. No clock takes part: a receipt from before the command is
    in force only if the switch signs that for a challenge of this command.
    """
    key = public_from_hex(host)
    if proof.host != host or not is_signed(key, proof.holds):
        return "its answer is not signed with the room's key"
    if proof.holds.challenge not in challenges:
        return "its answer belongs to another command"
    receipts = {r.number: r for r in proof.receipts}
    for m in MODALITIES:
        held = proof.holds.modalities.get(m)
        receipt = receipts.get(held.receipt) if held is not None else None
        if held is None or held.gate == "live" or receipt is None:
            return f"no receipt for {m}"
        if not is_signed(key, receipt):
            return f"the receipt for {m} is not signed with the room's key"
        if (receipt.modality, receipt.gate, receipt.mask_epoch) != (m, held.gate, held.mask_epoch):
            return f"the receipt for {m} is of another mask"
        if not receipt.handle_closed:
            return f"{m} is not closed"
    return None


def check_joint(receipt: JointReceipt, key: Ed25519PublicKey) -> None:
    """Raises PrivacyError that names what is wrong: its own signature, or one of a room."""
    if not is_signed(key, receipt):
        raise PrivacyError(f"joint receipt {receipt.number} is not what this house signed")
    for name, proof in receipt.rooms.items():
        if fault := fault_of(proof, frozenset({proof.holds.challenge}), proof.host):
            raise PrivacyError(f"joint receipt {receipt.number}: {name}: {fault}")


class JointLog:
    """Appends joint receipts to ``house_receipts.jsonl`` in the state directory, chained and signed."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey) -> None:
        self.path, self._key = directory / FILE, key
        self.number, self._previous = self._end()

    def append(self, draft: JointReceipt) -> JointReceipt:
        """Raises OSError; then the file is as before."""
        signed = sign(self._key, msgspec.structs.replace(draft, number=self.number, previous=self._previous))
        line = msgspec.json.encode(signed)
        if self.path.exists() and self.path.stat().st_size > MOST_BYTES:
            move(self.path, self.path.with_name(f"{FILE}.1"))
        append_private(self.path, line + b"\n")
        self.number, self._previous = self.number + 1, line_hash(line)
        return signed

    def _end(self) -> tuple[int, str]:
        """Number of the next receipt, and the hash of the last line; a torn last line is cut off."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                file.seek(max(0, size - LONGEST_LINE))
                data = file.read()
        except OSError:
            return 0, ""
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, size - len(data) + whole)
        lines = data[:whole].splitlines()
        try:
            return msgspec.json.decode(lines[-1], type=JointReceipt).number + 1, line_hash(lines[-1])
        except (IndexError, msgspec.DecodeError, UnicodeDecodeError):
            return 0, ""


def joint_receipts(path: Path, key: Ed25519PublicKey) -> list[JointReceipt]:
    """All of a file, oldest first. Raises PrivacyError for the first that is wrong or does not follow."""
    found: list[JointReceipt] = []
    previous: str | None = None
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            receipt = msgspec.json.decode(line, type=JointReceipt)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{path}: line {len(found) + 1} is no joint receipt ({error})") from error
        check_joint(receipt, key)
        if previous is not None and (receipt.previous, receipt.number) != (previous, found[-1].number + 1):
            raise PrivacyError(f"{path}: joint receipt {receipt.number} does not follow the line before it")
        found.append(receipt)
        previous = line_hash(line)
    return found
