"""The perception worker: reads ``raw/<m>``, encodes it, publishes ``feature/<m>``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edge_mer.bus import Bus, ZmqBus
from edge_mer.config import Config, is_off
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import MaskPersons
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import BadMessage, InputError
from edge_mer.contract.messages import Message
from edge_mer.contract.overwrite import overwrite
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.load import load_encoder
from edge_mer.perception.stream import FeatureStream
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.privacy.switch.memory import may_hold_people
from edge_mer.runtime.select import models_directory, notes, open_backend

LAG_US = SECOND  # drop messages older than 1 s to stay real time
IDLE_US = SECOND // 4


def wanted(config: Config) -> tuple[Modality, ...]:
    """The modalities whose source is not off."""
    return tuple(m for m in MODALITIES if not is_off(config, m))


class PerceptionNode:
    """``awaits``: of the camera, whether it encodes nothing before the switch has said who is masked."""

    wake: tuple[int, ...] = ()

    def __init__(
        self,
        modality: Modality,
        encoder: Encoder[Any, Any],
        bus: Bus,
        notes: tuple[str, ...] = (),
        awaits: bool = False,
    ) -> None:
        self.notes = notes
        self._clock, self._boot = bus.clock, bus.boot
        self._is_blind = awaits
        self._purged_epoch = self._masked_epoch = -1
        self._modality: Modality = modality
        self._stream = FeatureStream(encoder)
        self._state = self._stream.initial()
        self._purges = PurgeClient(bus, f"perception.{modality}", (modality,), persons=modality == "video")
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
        awaits = modality == "video" and isinstance(bus, ZmqBus) and may_hold_people(config.privacy.state)
        return cls(modality, encoder, bus, notes(backend) + found, awaits)

    @property
    def counters(self) -> Counter[str]:
        return self._counts + self._reader.counters

    def turn(self) -> int:
        for order in self._purges.orders():
            self._reader.require_epoch(order.modality, order.mask_epoch)
            fresh = self._stream.anew(self._state)
            overwrite(self._state, keep=fresh)
            self._state = fresh
            self._purged_epoch = max(self._purged_epoch, order.mask_epoch)
            self._purges.done(order)
        if (mask := self._purges.order()) is not None:
            self._mask(mask)
        for message in self._reader.drain():
            self._encode(message)
        return IDLE_US

    def close(self) -> None:
        return None

    def _mask(self, order: MaskPersons) -> None:
        """Numbers of another life, or of before a purge, tell nothing: then it is everybody. Where nobody can be told
        apart, nothing is encoded as long as anybody is masked."""
        if order.mask_epoch == self._masked_epoch:  # a repetition: the numbers may have begun anew since
            self._purges.confirm(order, self._stream.in_view(self._state))
            return
        self._masked_epoch = order.mask_epoch
        is_other = order.boot != self._boot or order.mask_epoch < self._purged_epoch
        everybody = order.everybody or bool(order.persons and is_other)
        persons = frozenset[str]() if everybody else frozenset(order.persons)
        try:
            self._state = self._stream.masked(self._state, persons, everybody)
            self._is_blind = False
        except InputError:
            self._is_blind = True
        self._purges.confirm(order, self._stream.in_view(self._state))

    def _is_renumbered(self) -> bool:
        order = self._purges.masked
        return order is not None and bool(order.persons) and self._stream.masks_everybody(self._state)

    def _encode(self, message: Message[Any]) -> None:
        if self._is_blind:
            self._counts["person_masked"] += 1
            return
        if self._clock.now_us() - message.envelope.created_us > LAG_US:
            self._counts["late"] += 1
            return
        try:
            self._state, draft = self._stream.step(self._state, message)
            if draft is not None:
                self._publisher.send(draft.body, draft.payload, origin_us=draft.origin_us)
        except (InputError, BadMessage):
            self._counts["unusable"] += 1
        if self._is_renumbered():
            self._purges.renumbered()


def _prepare_video(models: Path, yunet: Path | None) -> tuple[str, ...]:
    """Limits OpenCV to one thread; returns notes on the face detector. The other modalities do not import OpenCV."""
    import cv2

    from edge_mer.perception.yunet_detector import detector_notes

    cv2.setNumThreads(1)
    return detector_notes(models, yunet)


def build(config: Config, bus: Bus, modality: Modality) -> PerceptionNode:
    return PerceptionNode.open(modality, config, bus)
