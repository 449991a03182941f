"""Opens the encoder of a modality: the shipped one, or a large one named by its checkpoint."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from edge_mer.contract.modalities import TABLE, Modality
from edge_mer.contract.plugins import ENCODERS, load_plugin
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.loudness import LoudnessEncoder
from edge_mer.runtime.backend import Backend

PEOPLE = "edge_mer.perception.people"  # imported by name: the other modalities do not import OpenCV
LARGE = "edge_mer.large.load"  # imported by name: it needs torch, which the default run time does not


def load_encoder(
    modality: Modality,
    backend: Backend,
    models_dir: Path,
    yunet: Path | None = None,
    large: str | None = None,
    plugin: str | None = None,
    people: int = 1,
) -> Encoder[Any, Any]:
    """The encoder of ``modality`` from ``models_dir``; ``yunet`` replaces the built-in face detector, ``large`` (a
    folder or a pulled hub id) or ``plugin`` (an entry point, see edge_mer.contract.plugins) the encoder. ``people``:
    how many faces the shipped and the large one follow.

    Raises ModelError when a file is missing or damaged, MissingExtra when ``large`` needs a package, ConfigError for a
    ``plugin`` that is not installed.
    """
    opened: Encoder[Any, Any]
    if plugin:
        opened = load_plugin(ENCODERS, plugin)(modality, backend, models_dir)
    elif large:
        opened = import_module(LARGE).load_large(modality, large, backend, models_dir, yunet)
    else:
        opened = import_module(TABLE[modality].adapter).open_encoder(backend, models_dir, yunet)
    if modality == "video" and people > 1 and not plugin:
        opened = import_module(PEOPLE).following(opened, people)
    if modality == "audio" and people > 1:
        opened = LoudnessEncoder(opened, people)
    return opened
