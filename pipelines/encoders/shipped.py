"""Where the models that ship lie, where trainings write, and the file name of each encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_mer.contract.domain import Modality

MODELS: Final = Path("edge_mer/models")
RUNS: Final = Path("runs")
FILES: Final[Mapping[Modality, str]] = {"audio": "audio.onnx", "video": "face.onnx", "text": "text.onnx"}


def sha16(path: Path) -> str:
    """The name by which fusion knows an encoder: the first 16 hex digits of its file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def hashes(models: Path) -> dict[Modality, str]:
    """``sha16`` of each encoder of ``models``."""
    return {m: sha16(models / name) for m, name in FILES.items()}
