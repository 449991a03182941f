"""Opens the encoder of a modality: the shipped one, or a large one by the name of its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ModelError
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.detect import FaceDetector, Haar, YuNet
from edge_mer.perception.dialogue import DialogueEncoder
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.perception.wordpiece import WordPiece
from edge_mer.runtime.backend import Backend, Graph

LARGE = "edge_mer.large.load"  # by name: it brings torch, which the run-time path does without


def detector(yunet: Path | None) -> FaceDetector:
    """YuNet where its model is named, else the cascade in the OpenCV wheel."""
    return YuNet(yunet) if yunet else Haar()


def open_audio(backend: Backend, models: Path) -> AudioEncoder:
    return AudioEncoder(backend.load(models / "audio.onnx"), backend.load(models / "speech.onnx"))


def open_text(graph: Graph, models: Path) -> TextEncoder | DialogueEncoder:
    """The encoder of the kind that ``graph`` names, with its tokenizer from ``models``. Raises ModelError."""
    named = graph.metadata.get("tokenizer")
    if named is None:
        return TextEncoder(graph, SentencePiece(models / "text.spm"))
    path = models / str(named["file"])
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != named["sha256"]:
        raise ModelError(f"{path}: absent or not the vocabulary of the text encoder; run: edge-mer models check")
    return DialogueEncoder(graph, WordPiece.read(path))


_OPENERS: Mapping[Modality, Callable[[Backend, Path, Path | None], Encoder[Any, Any]]] = {
    "audio": lambda backend, models, yunet: open_audio(backend, models),
    "video": lambda backend, models, yunet: FaceEncoder(backend.load(models / "face.onnx"), detector(yunet)),
    "text": lambda backend, models, yunet: open_text(backend.load(models / "text.onnx"), models),
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
