"""Opens the encoder of a modality: the shipped one, or a large one by the name of its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_mer.contract.domain import Modality
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.detect import FaceDetector, Haar, YuNet
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.perception.voice import LOG_MEL, VoiceEncoder
from edge_mer.runtime.backend import Backend, Graph

LARGE = "edge_mer.large.load"  # by name: it brings torch, which the run-time path does without


def detector(yunet: Path | None) -> FaceDetector:
    """YuNet where its model is named, else the cascade in the OpenCV wheel."""
    return YuNet(yunet) if yunet else Haar()


def open_activity(backend: Backend, models: Path) -> AudioEncoder:
    """Voice activity alone: tokens without values."""
    return AudioEncoder(None, backend.load(models / "speech.onnx"))


def open_audio(backend: Backend, models: Path) -> AudioEncoder | VoiceEncoder:
    """``audio.onnx`` and ``speech.onnx`` as one encoder."""
    return audio_encoder(backend.load(models / "audio.onnx"), backend.load(models / "speech.onnx"))


def audio_encoder(graph: Graph, activity: Graph) -> AudioEncoder | VoiceEncoder:
    """The encoder that takes the inputs of ``graph``: Whisper's log-mel, or log-mel and pitch of the small network."""
    if LOG_MEL in graph.inputs:
        return VoiceEncoder(graph, AudioEncoder(None, activity))
    return AudioEncoder(graph, activity)


_OPENERS: Mapping[Modality, Callable[[Backend, Path, Path | None], Encoder[Any, Any]]] = {
    "audio": lambda backend, models, yunet: open_audio(backend, models),
    "video": lambda backend, models, yunet: FaceEncoder(backend.load(models / "face.onnx"), detector(yunet)),
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
