"""Files written whole or not at all, and the directory of keys and privacy state."""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edge_mer.contract.errors import ConfigError
from edge_mer.contract.places import unwritable, user_directory

STATE_LINK = "state"
SETTING = "privacy.state"
Version = tuple[int, int, int]


def state_path(configured: str | None = None) -> Path:
    """Where keys and privacy state are, or would be."""
    if configured:
        return Path(configured).absolute()
    return user_directory("XDG_STATE_HOME", ".local/state", SETTING) / "edge_mer"


def state_directory(configured: str | None = None) -> Path:
    """The directory of keys and privacy state: created 0700, refused when another user could enter it."""
    path = state_path(configured)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error, SETTING) from error
    check_owner(path)
    return path


def check_owner(path: Path) -> None:
    """Raises ConfigError for a directory, or a link to one, that is not this user's alone."""
    info = path.stat()
    if info.st_uid == 0 != os.getuid():
        raise ConfigError(
            f"{path} belongs to root, as after sudo edge-mer run; give it back: sudo chown -R {user_name()} {path}"
        )
    if path.lstat().st_uid != os.getuid() or info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(f"{path} must be yours alone; run: chmod 700 {path}")


def user_name() -> str:
    """The name of this user, or the number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def show_state_directory(runtime: Path, state: Path) -> Path:
    """Leave a link in the runtime directory, so that commands find the keys of the instance that runs there."""
    link = runtime / STATE_LINK
    link.unlink(missing_ok=True)
    link.symlink_to(state)
    return link


def shown_state_directory(runtime: Path) -> Path | None:
    link = runtime / STATE_LINK
    return link.readlink() if link.is_symlink() else None


def version_of(path: Path) -> Version | None:
    """What changes whenever the file does; None without a file."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_ino, info.st_size


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a crash or a power cut leaves the old content or the new, never a part."""
    draft = _draft(path, content, mode)
    try:
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise
    sync_directory(path.parent)


def create_once(path: Path, content: bytes) -> None:
    """Write a file that is not there (mode 0600). When another process is first, its content stays."""
    draft = _draft(path, content)
    with suppress(FileExistsError):
        os.link(draft, path)
    os.unlink(draft)
    sync_directory(path.parent)


def move(path: Path, target: Path) -> None:
    """Rename within a directory, so that a power cut does not undo it."""
    os.replace(path, target)
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file, so that a power cut does not bring it back."""
    with suppress(FileNotFoundError):
        os.unlink(path)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Write the names in a directory through to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(fd)


def create_private(path: Path) -> BinaryIO:
    """A new file for its user alone (mode 0600, whatever the umask). Raises FileExistsError where there is one."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    return os.fdopen(fd, "wb")


def append_private(path: Path, line: bytes) -> None:
    """Append to a file (mode 0600) and write it through to the disk. Raises OSError; then the file is as before."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
            if not size:
                sync_directory(path.parent)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)


def _draft(path: Path, content: bytes, mode: int = 0o600) -> Path:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        try:
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise
    return draft
