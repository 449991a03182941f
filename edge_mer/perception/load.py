"""Opens the encoder of a modality: the shipped one, or a large one by the name of its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_mer.contract.domain import Modality
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.detect import FaceDetector, Haar, OpenCvYuNet
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.perception.yunet_detector import YuNetDetector
from edge_mer.runtime.backend import Backend

YUNET = "yunet.onnx"
LARGE = "edge_mer.large.load"  # by name: it brings torch, which the run-time path does without


def detector(backend: Backend, models: Path, yunet: Path | None = None) -> FaceDetector:
    """YuNet of ``models``; the cascade of OpenCV 4 where the file is absent. ``yunet``: a file of the user's own, which
    OpenCV reads (deprecated)."""
    if yunet is not None:
        return OpenCvYuNet(yunet)
    return YuNetDetector(backend.load(models / YUNET)) if (models / YUNET).is_file() else Haar()


def open_audio(backend: Backend, models: Path) -> AudioEncoder:
    return AudioEncoder(backend.load(models / "audio.onnx"), backend.load(models / "speech.onnx"))


_OPENERS: Mapping[Modality, Callable[[Backend, Path, Path | None], Encoder[Any, Any]]] = {
    "audio": lambda backend, models, yunet: open_audio(backend, models),
    "video": lambda backend, models, yunet: FaceEncoder(
        backend.load(models / "face.onnx"), detector(backend, models, yunet)
    ),
    "text": lambda backend, models, yunet: TextEncoder(
        backend.load(models / "text.onnx"), SentencePiece(models / "text.spm")
    ),
}


def load_encoder(
    modality: Modality, backend: Backend, models_dir: Path, yunet: Path | None = None, large: str | None = None
) -> Encoder[Any, Any]:
    """The encoder of ``modality`` from ``models_dir``; ``yunet`` replaces the built-in face detector, ``large`` (a
    folder or a pulled hub id) the encoder.

    Raises ModelError when a file is missing or damaged, MissingExtra when ``large`` needs a package.
    """
    if large:
        opened: Encoder[Any, Any] = import_module(LARGE).load_large(modality, large, backend, models_dir, yunet)
        return opened
    return _OPENERS[modality](backend, models_dir, yunet)
