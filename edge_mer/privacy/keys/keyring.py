"""Which keys are paired with this host. One JSON file in the privacy state directory; an unreadable one holds none."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import Version, version_of, write_atomic
from edge_mer.privacy.consent.consent_file import Deployment
from edge_mer.privacy.keys.signing import public_from_hex

FILE = "keys.json"
# console: this host's own command line; reader: may look and mask over TCP, nothing else.
Role = Literal["console", "phone", "hub", "reader"]
MOST_KEYS = 64


class PairedKey(Struct, frozen=True, forbid_unknown_fields=True):
    """``signing``: Ed25519 public key (hex) of its grants; ``curve``: CURVE public key (Z85) that TCP admits."""

    name: str
    role: Role
    signing: str | None
    curve: str | None
    paired: str

    def may_unmask(self, deployment: Deployment) -> tuple[Modality, ...]:
        if self.signing is None:
            return ()
        return deployment.hub.may_unmask if self.role == "hub" else MODALITIES


class Keyring:
    """Reads the file again whenever it changed, so that a revoked key is out at once."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._seen: Version | None = None
        self._keys: tuple[PairedKey, ...] = ()
        self.fault: str | None = None

    def paired(self) -> tuple[PairedKey, ...]:
        """All paired keys; none when the file is damaged, and ``fault`` says so."""
        version = version_of(self.path)
        if version != self._seen:
            self._seen, self.fault = version, None
            try:
                self._keys = self._read()
            except PrivacyError as error:
                self._keys, self.fault = (), str(error)
        return self._keys

    def signer(self, signing: str) -> PairedKey | None:
        return next((k for k in self.paired() if k.signing == signing), None)

    def sender(self, curve: str) -> PairedKey | None:
        return next((k for k in self.paired() if k.curve == curve), None)

    def add(self, key: PairedKey) -> None:
        """Replaces a key of the same name. Raises PrivacyError for a key that is none, or a damaged file."""
        check_key(key)
        with self._locked():
            others = tuple(k for k in self._read() if k.name != key.name)
            if len(others) >= MOST_KEYS:
                raise PrivacyError(f"{MOST_KEYS} keys are paired already; revoke one: edge-mer keys revoke NAME")
            self._write((*others, key))

    def revoke(self, name: str) -> PairedKey:
        """Raises PrivacyError when no key has that name."""
        with self._locked():
            keys = self._read()
            gone = next((k for k in keys if k.name == name), None)
            if gone is None:
                known = ", ".join(k.name for k in keys) or "none"
                raise PrivacyError(f"no key is called {name!r}; paired: {known}")
            self._write(tuple(k for k in keys if k is not gone))
        return gone

    def _read(self) -> tuple[PairedKey, ...]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=tuple[PairedKey, ...])
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{self.path} is damaged ({error}); erase it and pair again: edge-mer keys") from error

    def _write(self, keys: tuple[PairedKey, ...]) -> None:
        write_atomic(self.path, msgspec.json.format(msgspec.json.encode(keys)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def check_key(key: PairedKey) -> None:
    """Raises PrivacyError when a part of it is not what it should be."""
    if not key.name or len(key.name) > 64 or not key.name.isprintable():
        raise PrivacyError(f"{key.name!r} is no name for a key: use 1 to 64 printable characters")
    try:
        if key.signing is not None:
            public_from_hex(key.signing)
    except ValueError as error:
        raise PrivacyError(f"{key.name}: {key.signing!r} is no Ed25519 public key (64 hex digits)") from error
    if key.curve is not None and not (len(key.curve) == 40 and key.curve.isascii() and key.curve.isprintable()):
        raise PrivacyError(f"{key.name}: {key.curve!r} is no CURVE public key (40 characters of Z85)")
