"""Finds, checks and opens a transformers checkpoint: a local folder, or a hub id that was pulled before.

Opening never connects; only ``pull`` does, and only the user calls it (``edge-mer models pull``).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_mer.contract.errors import ModelError, missing_extra
from edge_mer.large import compat_torchaudio

# Files of a repository that a checkpoint needs; weights as safetensors only, because a pickle can run code.
PATTERNS: Final = ("*.json", "*.txt", "*.model", "*.safetensors")


@dataclass(frozen=True, slots=True)
class LargeCheckpoint:
    """``name``: folder or hub id as configured; ``sha256``: of all its files in the order of their names."""

    name: str
    folder: Path
    sha256: str

    def open(self, kind: str, **options: Any) -> Any:
        """``transformers.<kind>.from_pretrained`` of the folder. Raises ModelError if damaged or of another kind."""
        loader = getattr(transformers(), kind)
        try:
            return loader.from_pretrained(str(self.folder), local_files_only=True, **options)
        except Exception as error:  # transformers and safetensors raise a dozen unrelated types for a damaged file
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"{self.name}: not a checkpoint for {kind} ({reason})") from error

    def model(self, kind: str) -> Any:
        """In evaluation mode, on one thread."""
        import torch

        torch.set_num_threads(1)
        return self.open(kind, use_safetensors=True).eval()


def transformers() -> Any:
    """The package. Raises MissingExtra without it."""
    compat_torchaudio.repair_import()
    try:
        import torch  # noqa: F401  # without it, transformers imports but offers no models
        import transformers
    except ImportError as error:
        raise missing_extra("transformers or torch", "asr") from error
    return transformers


def find(name: str) -> LargeCheckpoint:
    """The checkpoint ``name``, without connecting. Raises ModelError when it is neither a folder nor pulled."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _pulled(name)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: {folder} has no config.json; expected a transformers checkpoint")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(f"{name}: {folder} has no .safetensors weights; convert them with save_pretrained")
    return LargeCheckpoint(name, folder, sha256_of(folder))


def pull(name: str) -> LargeCheckpoint:
    """Download ``name`` from the hub into its cache. Raises ModelError, with what to do, when that fails."""
    hub = _hub()
    try:
        hub.snapshot_download(name, allow_patterns=list(PATTERNS))
    except hub.errors.HFValidationError as error:
        raise ModelError(f"{name!r} is no hub id; expected OWNER/NAME") from error
    except hub.errors.RepositoryNotFoundError as error:
        raise ModelError(f"{name}: the hub has no such public model") from error
    except Exception as error:  # httpx, requests and the hub raise unrelated types for a missing network
        raise ModelError(
            f"{name}: the hub cannot be reached from here ({type(error).__name__}). The starter models are in the "
            "package and need no download; for a large one, copy its folder to this host and name the folder in "
            "perception.audio, perception.video or perception.text"
        ) from error
    return find(name)


def sha256_of(folder: Path) -> str:
    """Hash of the names, sizes and contents of a checkpoint's files."""
    digest = hashlib.sha256()
    for path in sorted({p for pattern in PATTERNS for p in folder.glob(pattern)}):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _pulled(name: str) -> Path:
    hub = _hub()
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except hub.errors.HFValidationError as error:
        raise ModelError(f"{name}: no such folder; expected one, or a hub id OWNER/NAME") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: neither a folder nor a pulled checkpoint; run: edge-mer models pull {name}"
        ) from error


def _hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise missing_extra("huggingface_hub", "asr") from error
    return huggingface_hub
