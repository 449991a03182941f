"""Opens the large encoder of a modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_mer.contract.domain import Modality
from edge_mer.large.audio import LargeAudioEncoder
from edge_mer.large.checkpoint import find
from edge_mer.large.face import LargeFaceEncoder
from edge_mer.large.text import LargeTextEncoder
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.load import detector, open_audio
from edge_mer.runtime.backend import Backend


def load_large(
    modality: Modality, name: str, backend: Backend, models: Path, yunet: Path | None = None
) -> Encoder[Any, Any]:
    """The checkpoint ``name`` as encoder of ``modality``. Raises ModelError or MissingExtra, naming it."""
    checkpoint = find(name)
    if modality == "audio":
        return LargeAudioEncoder(checkpoint, open_audio(backend, models))
    if modality == "video":
        return LargeFaceEncoder(checkpoint, detector(backend, models, yunet))
    return LargeTextEncoder(checkpoint)
