"""Opens the shipped encoder of a modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_mer.domain import Modality
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.detect import FaceDetector, Haar, YuNet
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.runtime.backend import Backend


def _audio(backend: Backend, models: Path, yunet: Path | None) -> AudioEncoder:
    return AudioEncoder(backend.load(models / "audio.onnx"), backend.load(models / "speech.onnx"))


def _video(backend: Backend, models: Path, yunet: Path | None) -> FaceEncoder:
    detector: FaceDetector = YuNet(yunet) if yunet else Haar()
    return FaceEncoder(backend.load(models / "face.onnx"), detector)


def _text(backend: Backend, models: Path, yunet: Path | None) -> TextEncoder:
    return TextEncoder(backend.load(models / "text.onnx"), SentencePiece(models / "text.spm"))


_OPENERS: Mapping[Modality, Callable[[Backend, Path, Path | None], Encoder[Any, Any]]] = {
    "audio": _audio,
    "video": _video,
    "text": _text,
}


def load_encoder(
    modality: Modality, backend: Backend, models_dir: Path, yunet: Path | None = None
) -> Encoder[Any, Any]:
    """The encoder of ``modality`` from ``models_dir``; ``yunet`` replaces the built-in face detector.

    Raises ModelError when a file is missing or damaged.
    """
    return _OPENERS[modality](backend, models_dir, yunet)
