"""The host key: an Ed25519 pair in the privacy state directory, made once. It signs leases and receipts."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_mer.errors import ConfigError

PRIVATE, PUBLIC = "host.key", "host.pub"
STATE_LINK = "state"
Version = tuple[int, int, int]


def state_path(configured: str | None = None) -> Path:
    """Where keys and privacy state are, or would be."""
    base = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    return Path(configured).absolute() if configured else base / "edge_mer"


def state_directory(configured: str | None = None) -> Path:
    """The directory of keys and privacy state: created 0700, refused when somebody else could enter it."""
    path = state_path(configured)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.stat()
    if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(f"{path} must be yours alone; run: chmod 700 {path}")
    return path


def show_state_directory(runtime: Path, state: Path) -> Path:
    """Leave a link in the runtime directory, so that commands find the keys of the instance that runs there."""
    link = runtime / STATE_LINK
    link.unlink(missing_ok=True)
    link.symlink_to(state)
    return link


def shown_state_directory(runtime: Path) -> Path | None:
    link = runtime / STATE_LINK
    return link.readlink() if link.is_symlink() else None


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


def version_of(path: Path) -> Version | None:
    """What changes whenever the file does; None without a file."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_ino, info.st_size


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old content or the new, never a part (mode 0600)."""
    draft = _draft(path, content)
    draft.replace(path)


def create_once(path: Path, content: bytes) -> None:
    """Write a file that is not there (mode 0600). When another process is first, its content stays."""
    draft = _draft(path, content)
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


def _read(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a key ({error}); remove it, a new one will be made") from error
    if len(key) != 32:
        raise ConfigError(f"{path} holds {len(key)} bytes, an Ed25519 key has 32; remove it, a new one will be made")
    return key
