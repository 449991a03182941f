"""Opens the large encoder of a modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ModelError
from edge_mer.large.audio import LargeAudioEncoder
from edge_mer.large.checkpoint import LargeCheckpoint, find
from edge_mer.large.face import LargeFaceEncoder
from edge_mer.large.text import LargeTextEncoder
from edge_mer.perception.audio import open_activity
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.backend import Backend

_OPENERS: Mapping[Modality, Callable[[LargeCheckpoint, Backend, Path, Path | None], Encoder[Any, Any]]] = {
    "audio": lambda found, backend, models, yunet: LargeAudioEncoder(found, open_activity(backend, models)),
    "video": lambda found, backend, models, yunet: LargeFaceEncoder(found, detector(backend, models, yunet)),
    "text": lambda found, backend, models, yunet: LargeTextEncoder(found),
}


def load_large(
    modality: Modality, name: str, backend: Backend, models: Path, yunet: Path | None = None
) -> Encoder[Any, Any]:
    """The checkpoint ``name`` as encoder of ``modality``. Raises ModelError or MissingExtra, naming it."""
    if modality not in _OPENERS:
        raise ModelError(f"perception.{modality} = {name!r}: {modality} has no large encoder; remove this key")
    return _OPENERS[modality](find(name), backend, models, yunet)
