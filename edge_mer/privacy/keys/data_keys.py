"""Keys of stored data: one per recording (or day of history) and modality, stored outside the data.

Encrypted data is ``nonce (12 bytes) | AES-256-GCM``; topic and inner encoding are authenticated, so that data cannot be
moved to another channel. All copies of a recording share the key: without it no copy can be read.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import BadMessage, ConfigError, SessionError
from edge_mer.host.files import write_atomic

KEY_BYTES, NONCE_BYTES = 32, 12
_ID = re.compile(r"[0-9a-f]{32}")


class KeyStore:
    """A directory (0700) with one file (0600) per key. Created when the first key is stored."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, session: str, modality: Modality) -> AESGCM:
        """A new key. Raises ConfigError when other users may read the directory, OSError when it is not writable."""
        self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._check_private(self.directory)
        key = AESGCM.generate_key(8 * KEY_BYTES)
        fd = os.open(self._path(session, modality), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key.hex().encode())
            file.flush()
            os.fsync(file.fileno())
        return AESGCM(key)

    def get(self, session: str, modality: Modality) -> AESGCM | None:
        """None when it was erased, or never was on this host. Raises ConfigError for a damaged or readable key file."""
        path = self._path(session, modality)
        try:
            text = path.read_text("ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        self._check_private(path)
        try:
            return AESGCM(bytes.fromhex(text))
        except ValueError as error:
            raise ConfigError(
                f"{path} is not a key ({error}); restore it, or erase it with: edge-mer session erase"
            ) from error

    def erase(self, session: str, modality: Modality) -> bool:
        """Overwrite and remove the key, and store the time. False when there was none."""
        path = self._path(session, modality)
        with suppress(FileNotFoundError), path.open("r+b") as file:
            file.write(os.urandom(2 * KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            path.unlink()
            write_atomic(self._note(session, modality), f"{time.time():.0f}".encode())
            return True
        return False

    def erased_at(self, session: str, modality: Modality) -> int | None:
        """When the key was destroyed here, in seconds of wall time; None when it was not."""
        with suppress(OSError, ValueError):
            return int(self._note(session, modality).read_text("ascii"))
        return None

    def _path(self, session: str, modality: Modality) -> Path:
        if not _ID.fullmatch(session):  # the id comes from a file: it must not contain a path
            raise SessionError(f"{session!r} is not the id of a session")
        return self.directory / f"{session}.{modality}.key"

    def _note(self, session: str, modality: Modality) -> Path:
        return self._path(session, modality).with_suffix(".erased")

    @staticmethod
    def _check_private(path: Path) -> None:
        info = path.stat()
        if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise ConfigError(f"{path} must be accessible by its owner only; run: chmod go-rwx {path}")


def seal(cipher: AESGCM, topic: str, encoding: str, data: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, f"{topic} {encoding}".encode())


def unseal(cipher: AESGCM, topic: str, encoding: str, data: bytes) -> bytes:
    """Raises BadMessage when the data was changed, moved, or encrypted with another key."""
    try:
        return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], f"{topic} {encoding}".encode())
    except (InvalidTag, ValueError) as error:
        raise BadMessage(f"{topic}: decryption failed: the data was changed or moved, or has another key") from error
