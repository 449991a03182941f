"""The host key: an Ed25519 pair in the privacy state directory, made once. It signs leases and receipts."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_mer.contract.errors import ConfigError
from edge_mer.host.files import create_once, write_atomic

PRIVATE, PUBLIC = "host.key", "host.pub"


def has_host_key(directory: Path) -> bool:
    """Whether a switch has run with this directory before."""
    return (directory / PRIVATE).exists()


def host_key(directory: Path) -> Ed25519PrivateKey:
    """The private key of this host, made on first use (mode 0600), its public key beside it.

    Raises ConfigError when the file is damaged or others may read it.
    """
    path = directory / PRIVATE
    if not path.exists():
        create_once(path, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path} may be read by others, so it proves nothing; remove it, a new one will be made")
    key = Ed25519PrivateKey.from_private_bytes(_read(path))
    public, content = directory / PUBLIC, key.public_key().public_bytes_raw().hex().encode()
    if not public.exists() or public.read_bytes() != content:
        write_atomic(public, content)
    return key


def public_key(directory: Path) -> Ed25519PublicKey | None:
    """The public key that leases are checked with; None while no switch has ever run here."""
    path = directory / PUBLIC
    return read_public(path) if path.exists() else None


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises ConfigError when the file holds no public key."""
    return Ed25519PublicKey.from_public_bytes(_read(path))


def _read(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a key ({error}); remove it, a new one will be made") from error
    if len(key) != 32:
        raise ConfigError(f"{path} holds {len(key)} bytes, an Ed25519 key has 32; remove it, a new one will be made")
    return key
