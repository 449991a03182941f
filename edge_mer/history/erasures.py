"""Receipts of erasures: one JSON line each, hash-chained and signed, like the receipts of masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import append_private
from edge_mer.privacy.keys.host_key import host_key, public_key
from edge_mer.privacy.keys.signing import is_signed, sign
from edge_mer.privacy.switch.receipts import ChainHead, line_hash, lines_of

FILE = "erasures.jsonl"


class Erasure(Struct, frozen=True, forbid_unknown_fields=True):
    """``what``: a day or a modality. ``keys``: each destroyed key, as day and modality. ``erased_us``: wall time.
    ``previous``: the sha256 of the line before; ``signature``: by the key in the history's directory."""

    number: int
    what: str
    requester: str
    erased_us: int
    keys: tuple[str, ...]
    previous: str
    signature: str = ""


def append(directory: Path, what: str, requester: str, erased_us: int, keys: tuple[str, ...]) -> Erasure:
    """Number, chain, sign and write it through to the disk. Raises PrivacyError where the chain is damaged."""
    key = host_key(directory)
    heads = [head for head, _ in _checked(directory, key.public_key())]
    head = heads[-1] if heads else ChainHead()
    made = Erasure(head.count, what, requester, erased_us, keys, head.hash)
    signed = sign(key, made)
    append_private(directory / FILE, msgspec.json.encode(signed) + b"\n")
    return signed


def verify(directory: Path) -> list[Erasure]:
    """Every erasure, oldest first. Raises PrivacyError naming the first line that is not signed or not in its place."""
    key = public_key(directory)
    return [] if key is None else [erasure for _, erasure in _checked(directory, key)]


def _checked(directory: Path, key: Ed25519PublicKey) -> Iterator[tuple[ChainHead, Erasure]]:
    head, path = ChainHead(), directory / FILE
    for where, line in lines_of(path) if path.exists() else ():
        try:
            found = msgspec.json.decode(line, type=Erasure)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{where}: it is no receipt ({error})") from error
        if not is_signed(key, found):
            raise PrivacyError(f"{where}: it is not what this host signed")
        if ChainHead(found.number, found.previous) != head:
            raise PrivacyError(f"{where}: receipt {found.number} does not follow the line before it")
        head = ChainHead(found.number + 1, line_hash(line))
        yield head, found
