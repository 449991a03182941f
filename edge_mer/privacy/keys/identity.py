"""The keys of one who asks: this host's console, or a phone or hub somewhere else. Private files, mode 0600."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import msgspec
import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import UNSET, Struct

from edge_mer.contract.control import Grant
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import write_atomic
from edge_mer.privacy.keys.signing import public_hex, sign

FOLDER = "identities"
CONSOLE = "console"


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """``host`` and ``address`` are where this identity is paired, when that is not this machine."""

    signing: str
    curve_public: str
    curve_secret: str
    host: str = ""
    host_curve: str = ""
    address: str = ""


class Identity:
    """Signs grants. ``folder`` is ``identities`` in the privacy state directory."""

    def __init__(self, folder: Path, name: str, content: _File) -> None:
        self.name, self.content = name, content
        self._folder = folder
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.signing))

    @property
    def signing(self) -> str:
        """Its public key, hex."""
        return public_hex(self._key)

    @property
    def curve(self) -> tuple[bytes, bytes]:
        """Public and secret CURVE key, Z85."""
        return self.content.curve_public.encode(), self.content.curve_secret.encode()

    def grant(
        self,
        host: str,
        modalities: tuple[Modality, ...],
        mask_epoch: int,
        wall_us: int,
        persons: tuple[str, ...] = (),
    ) -> Grant:
        """Leave to unmask. ``host``: the host's public key, hex; ``mask_epoch``: the newest that the signer saw."""
        grant = Grant(
            key=self.signing,
            host=host,
            counter=self.next_counter(wall_us),
            mask_epoch=mask_epoch,
            modalities=modalities,
            persons=persons or UNSET,
        )
        return sign(self._key, grant)

    def next_counter(self, wall_us: int) -> int:
        """Greater than every one before, also when the file was lost or the clock was set back."""
        fd = os.open(self._folder / f"{self.name}.counter", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read().strip()
            counter = max(wall_us, int(text) + 1 if text.isdigit() else 0)
            file.seek(0)
            file.truncate()
            file.write(str(counter))
        return counter

    def joined(self, host: str, host_curve: str, address: str) -> Identity:
        """The same keys, now paired with a host elsewhere."""
        content = msgspec.structs.replace(self.content, host=host, host_curve=host_curve, address=address)
        write_atomic(_path(self._folder, self.name), msgspec.json.encode(content))
        return Identity(self._folder, self.name, content)


def new_identity(directory: Path, name: str) -> Identity:
    """Make keys and keep them. Raises PrivacyError when there are keys of that name already."""
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
        raise PrivacyError(f"{name!r} is no name for keys: use letters, digits, - and _")
    path = _path(folder, name)
    if path.exists():
        raise PrivacyError(f"{path} exists and is not overwritten; choose another name")
    public, secret = zmq.curve_keypair()
    signing = Ed25519PrivateKey.generate().private_bytes_raw().hex()
    content = _File(signing, public.decode(), secret.decode())
    write_atomic(path, msgspec.json.encode(content))
    return Identity(folder, name, content)


def read_identity(directory: Path, name: str = CONSOLE) -> Identity | None:
    """None when there is none. Raises PrivacyError when the file is damaged, or others may read it."""
    path = _path(directory / FOLDER, name)
    try:
        mode, data = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        raise PrivacyError(f"{path} may be read by others, so it proves nothing; erase it and pair again")
    try:
        content = msgspec.json.decode(data, type=_File)
        return Identity(path.parent, name, content)
    except (msgspec.DecodeError, ValueError) as error:
        raise PrivacyError(f"{path} is damaged ({error}); erase it and pair again") from error


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"
