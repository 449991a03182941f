"""How leases, grants and receipts are signed: Ed25519 over the kind of the record and its sorted JSON."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Signed(Protocol):
    @property
    def signature(self) -> str: ...


S = TypeVar("S", bound=Signed)


def signed_bytes(record: Signed) -> bytes:
    """All fields but the signature, behind the record's kind: a lease can never pass for a grant."""
    fields = msgspec.structs.replace(record, signature="")  # type: ignore[type-var]
    return type(record).__name__.encode() + b"\n" + msgspec.json.encode(fields, order="sorted")


def sign(key: Ed25519PrivateKey, record: S) -> S:
    return msgspec.structs.replace(record, signature=key.sign(signed_bytes(record)).hex())  # type: ignore[type-var]


def is_signed(key: Ed25519PublicKey, record: Signed) -> bool:
    """Whether exactly this record was signed by that key."""
    try:
        signature = bytes.fromhex(record.signature)
        key.verify(signature, signed_bytes(record))
    except (InvalidSignature, ValueError):
        return False
    return signature.hex() == record.signature  # one way to write it, so that every changed character shows


def public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def public_from_hex(text: str) -> Ed25519PublicKey:
    """Raises ValueError when it is no Ed25519 public key."""
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
