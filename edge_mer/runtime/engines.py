"""The engine cache: compiled plans on disk, each named by a digest of all that it depends on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from edge_mer.contract.errors import ModelError
from edge_mer.contract.places import user_directory

SUFFIX: Final = ".engine"
_MAGIC: Final = b"edge_mer engine 1\n"
_LENGTH: Final = struct.Struct("<I")


class Options(Struct, frozen=True):
    """Options of the builder. ``level`` 0 to 5: how long it searches; ``workspace_mb``: device memory for the search.

    ``dla_core``: run supported layers on this deep learning accelerator of a Jetson, the others on the GPU.
    """

    level: int = 3
    workspace_mb: int | None = None
    dla_core: int | None = None


class Key(Struct, frozen=True):
    """Identifies a plan. ``sha256``: of the model; ``capability``: of the GPU, "" where a plan fits several."""

    model: str
    sha256: str
    precision: str
    runtime: str
    version: str
    capability: str
    machine: str
    options: Options

    @property
    def file(self) -> str:
        digest = hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
        return f"{self.model.removesuffix('.onnx')}.{self.precision}.{digest[:16]}{SUFFIX}"


class Header(Struct, frozen=True):
    """The first part of an engine file; the plan follows. ``seconds``: how long the build took."""

    key: Key
    plan_sha256: str
    plan_bytes: int
    seconds: float
    built: float


class CachedEngine(Struct, frozen=True):
    """One file of the cache; ``fault``: why it cannot be used; ``header`` is None where it cannot be read."""

    path: Path
    header: Header | None
    fault: str | None


def engines_directory(configured: str | None) -> Path:
    """The configured directory, or the user's cache."""
    if configured is not None:
        return Path(configured)
    return user_directory("XDG_CACHE_HOME", ".cache", "models.engines") / "edge_mer" / "engines"


class EngineCache:
    """A directory of engine files. Files are written atomically; a damaged file is treated as missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, key: Key) -> bytes | None:
        """The plan, or None when there is none or it is damaged."""
        path = self.directory / key.file
        try:
            header, plan = _read(path)
        except (OSError, ModelError):
            return None
        return plan if header.key == key else None

    def put(self, key: Key, plan: bytes, seconds: float) -> Path:
        """Raises ModelError when the directory cannot be written."""
        header = Header(key, hashlib.sha256(plan).hexdigest(), len(plan), round(seconds, 2), time.time())
        head = msgspec.json.encode(header)
        path = self.directory / key.file
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(_MAGIC + _LENGTH.pack(len(head)) + head + plan)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise ModelError(
                f"{self.directory}: the engine cannot be stored ({error.strerror}); name another directory "
                "in models.engines"
            ) from error
        return path

    def drop(self, key: Key) -> None:
        (self.directory / key.file).unlink(missing_ok=True)

    @contextmanager
    def building(self, key: Key) -> Iterator[None]:
        """Locked by the process that builds this engine; others wait until it is built."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / f".{key.file}.lock").open("wb")
        except OSError as error:
            raise ModelError(
                f"{self.directory}: cannot be written ({error.strerror}); name another directory in models.engines"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the file is kept: without it two processes could build at once
            yield

    def entries(self) -> list[CachedEngine]:
        """Every engine file, checked."""
        return [_entry(path) for path in sorted(self.directory.glob(f"*{SUFFIX}"))]

    def clean(self, keep: frozenset[str] = frozenset()) -> list[Path]:
        """Remove every file that is not named in ``keep``, and remains of failed builds; returns the removed paths.

        Files of a running build are kept.
        """
        with ExitStack() as held:
            locks = {p: held.enter_context(p.open("rb")) for p in self.directory.glob(".*.lock")}
            idle = [path for path, file in locks.items() if _is_free(file)]
            busy = {path.name[1 : -len(".lock")] for path in locks if path not in idle}
            found = [p for pattern in (f"*{SUFFIX}", "*.partial") for p in self.directory.glob(pattern)]
            removed = sorted(p for p in found if p.name not in keep and not any(name in p.name for name in busy))
            for path in (*removed, *idle):
                path.unlink(missing_ok=True)
        return removed


def _is_free(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _entry(path: Path) -> CachedEngine:
    try:
        header, _ = _read(path)
    except (OSError, ModelError) as error:
        return CachedEngine(path, None, str(error))
    return CachedEngine(
        path, header, None if path.name == header.key.file else "renamed: its name does not match its key"
    )


def _read(path: Path) -> tuple[Header, bytes]:
    content = path.read_bytes()
    start = len(_MAGIC) + _LENGTH.size
    if not content.startswith(_MAGIC) or len(content) < start:
        raise ModelError("no engine file of this version")
    end = start + _LENGTH.unpack_from(content, len(_MAGIC))[0]
    try:
        header = msgspec.json.decode(content[start:end], type=Header)
    except msgspec.DecodeError as error:
        raise ModelError(f"its header is damaged ({error})") from error
    plan = content[end:]
    if len(plan) != header.plan_bytes or hashlib.sha256(plan).hexdigest() != header.plan_sha256:
        raise ModelError(f"damaged: {len(plan)} bytes of plan, expected {header.plan_bytes} of another hash")
    return header, plan
