"""The components of a replay: the configured models, and a description of this runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2

from edge_mer.config import Config
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import SessionError
from edge_mer.fusion.model import FusionModel, load_fusion_model
from edge_mer.fusion.replay import LoadModel
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.select import models_directory, open_backend
from edge_mer.session.cpu_info import cpu_name

LoadEncoder = Callable[[Modality, int], Encoder[Any, Any]]
"""By modality, and how many people it is to follow."""


@dataclass(frozen=True)
class ReplayComponents:
    """``fusion`` takes the model name of the session and raises SessionError when another one is installed. ``encoder``
    is None where raw media is not encoded again. ``runtime``: all that could change a result bit; empty: unknown."""

    fusion: LoadModel
    encoder: LoadEncoder | None = None
    runtime: Mapping[str, str] = field(default_factory=dict)


def installed(config: Config, any_model: bool = False) -> ReplayComponents:
    """The configured models. ``any_model`` also accepts other models than the session was recorded with, of the same
    name before the ``@`` (another precision). Raises ModelError when directory or backend do not exist."""
    backend = open_backend(config.models)
    yunet = Path(config.perception.yunet) if config.perception.yunet else None

    @cache
    def configured() -> FusionModel:
        return load_fusion_model(backend, models_directory(config.models.directory))

    def fusion(name: str) -> FusionModel:
        model = configured()  # once per session: loading takes longer than folding a minute
        fits = model.name == name or (any_model and model.name.partition("@")[0] == name.partition("@")[0])
        if not fits:
            raise SessionError(
                f"recorded with {name}, configured is {model.name}; point models.directory to the former"
            )
        return model

    def encoder(modality: Modality, people: int) -> Encoder[Any, Any]:
        cv2.setNumThreads(1)
        return load_encoder(
            modality,
            backend,
            models_directory(config.models.directory),
            yunet,
            getattr(config.perception, modality),
            config.plugins.encoders.get(modality),
            people,
        )

    return ReplayComponents(fusion, encoder, {"backend": backend.name, **backend.describe(), "cpu": cpu_name()})
