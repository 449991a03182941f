"""The perception worker: reads ``raw/<m>``, encodes it, publishes ``feature/<m>``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edge_mer.bus import Bus
from edge_mer.config import Config, is_off
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import BadMessage, InputError
from edge_mer.contract.messages import Message
from edge_mer.contract.overwrite import overwrite
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.load import load_encoder
from edge_mer.perception.stream import FeatureStream
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.runtime.select import models_directory, notes, open_backend

LAG_US = SECOND  # drop messages older than 1 s to stay real time
IDLE_US = SECOND // 4


def wanted(config: Config) -> tuple[Modality, ...]:
    """The modalities whose source is not off."""
    return tuple(m for m in MODALITIES if not is_off(config, m))


class PerceptionNode:
    wake: tuple[int, ...] = ()

    def __init__(self, modality: Modality, encoder: Encoder[Any, Any], bus: Bus, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self._clock = bus.clock
        self._modality: Modality = modality
        self._stream = FeatureStream(encoder)
        self._state = self._stream.initial()
        self._purges = PurgeClient(bus, f"perception.{modality}", (modality,))
        self._reader = bus.reader(f"raw/{modality}")
        self._publisher = bus.publisher(f"feature/{modality}", f"perception.{modality}")
        self._counts: Counter[str] = Counter()

    @classmethod
    def open(cls, modality: Modality, config: Config, bus: Bus) -> PerceptionNode:
        yunet = Path(config.perception.yunet) if config.perception.yunet else None
        directory = models_directory(config.models.directory)
        backend = open_backend(config.models)
        large = getattr(config.perception, modality)
        plugin = config.plugins.encoders.get(modality)
        encoder = load_encoder(modality, backend, directory, yunet, large, plugin, config.video.people)
        found = _prepare_video(directory, yunet) if modality == "video" else ()
        return cls(modality, encoder, bus, notes(backend) + found)

    @property
    def counters(self) -> Counter[str]:
        return self._counts + self._reader.counters

    def turn(self) -> int:
        for order in self._purges.orders():
            self._reader.require_epoch(order.modality, order.mask_epoch)
            fresh = self._stream.anew(self._state)
            overwrite(self._state, keep=fresh)
            self._state = fresh
            self._purges.done(order)
        for message in self._reader.drain():
            self._encode(message)
        return IDLE_US

    def close(self) -> None:
        return None

    def _encode(self, message: Message[Any]) -> None:
        if self._clock.now_us() - message.envelope.created_us > LAG_US:
            self._counts["late"] += 1
            return
        try:
            self._state, draft = self._stream.step(self._state, message)
            if draft is not None:
                self._publisher.send(draft.body, draft.payload, origin_us=draft.origin_us)
        except (InputError, BadMessage):
            self._counts["unusable"] += 1


def _prepare_video(models: Path, yunet: Path | None) -> tuple[str, ...]:
    """Limits OpenCV to one thread; returns notes on the face detector. The other modalities do not import OpenCV."""
    import cv2

    from edge_mer.perception.yunet_detector import detector_notes

    cv2.setNumThreads(1)
    return detector_notes(models, yunet)


def build(config: Config, bus: Bus, modality: Modality) -> PerceptionNode:
    return PerceptionNode.open(modality, config, bus)
