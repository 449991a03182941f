"""Drives the fold in tests by plain function calls: tokens and ticks in, estimates out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_mer.contract import messages, wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Combination, Gate, Health, Modality, combination_of
from edge_mer.contract.messages import Envelope, Feature, Message, SensorState, canonical
from edge_mer.contract.services import SERVICES
from edge_mer.fusion.estimate import Output
from edge_mer.fusion.fold import Arrived, Event, Fusion, ModalityPurged, Tick
from edge_mer.fusion.model import Prediction
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.state import FusionState

SETTINGS = FusionSettings(
    window_us=4 * SECOND,
    hop_us=SECOND // 2,
    lateness_us=SECOND,
    horizon_us=2 * SECOND,
    smoothing=math.exp(-1),
    min_tokens=0.25,
    hysteresis_hops=2,
    max_age_us={"audio": SECOND, "video": SECOND, "text": 2 * SECOND},
)
RATE = {"audio": 8, "video": 5, "text": 3}
START = 1_000 * SECOND


class HashModel:
    """A model whose output depends on every byte of its input, and on nothing else."""

    name = "hash@0"
    capacity = {"audio": 32, "video": 20, "text": 24}  # noqa: RUF012
    dims = {"audio": 4, "video": 7, "text": 3}  # noqa: RUF012
    encoders = {"audio": "ea", "video": "ev", "text": "et"}  # noqa: RUF012

    def predict(self, combination: Combination, windows: Any) -> Prediction:
        seed = "".join(
            messages.digest(w.values.tobytes() + w.mask.tobytes() + w.age.tobytes())
            for _, w in sorted(windows.items())
            if w.mask.any()
        )
        rng = np.random.default_rng(list(f"{combination}{seed}".encode()))
        weights = rng.random(7)
        probabilities = tuple(float(p) for p in weights / weights.sum())
        if "t" not in combination:
            return Prediction(probabilities, None, "no labels")
        return Prediction(probabilities, float(rng.uniform(-3, 3)), None)


def message(
    topic: str, body: Any, payload: Any = (), *, origin_us: int, seq: int = 0, created_us: int = 0
) -> Message[Any]:
    """A message as a reader would receive it, through the real wire form."""
    row = SERVICES[topic]
    envelope = Envelope(
        schema=row.schema, source="test", boot="b0", seq=seq, origin_us=origin_us, created_us=created_us or origin_us
    )
    frames = wire.encode(topic, envelope, body, payload)
    return wire.decode(topic, row.body, row.version, row.max_bytes, frames)


def tokens(
    modality: Modality,
    ends_us: list[int],
    seed: int = 0,
    *,
    valid: bool = True,
    epoch: int = 0,
    context: int = 0,
    cut: bool = False,
    seq: int = 0,
    model: str | None = None,
    dim: int | None = None,
    watermark_us: int | None = None,
    raw_created_us: int = 0,
    reason: str | None = None,
) -> Message[Feature]:
    """A feature message of one token per end time."""
    ends = np.array(ends_us, np.int64)
    shape = (len(ends), dim or HashModel.dims[modality])
    values = np.random.default_rng([seed, *ends_us]).standard_normal(shape).astype(np.float32)
    body = Feature(
        modality=modality,
        encoder="e",
        model=model or HashModel.encoders[modality],
        raw_source="s",
        raw_boot="r",
        raw_first=0,
        raw_last=0,
        context=context,
        cut=cut,
        final=True,
        watermark_us=watermark_us if watermark_us is not None else max(ends_us, default=0),
        biometric=modality != "text",
        mask_epoch=epoch,
        raw_created_us=raw_created_us,
        reason=reason,
    )
    payload = (values, ends - 1000, ends, np.full(len(ends), valid, np.uint8))
    return message(f"feature/{modality}", body, payload, origin_us=max(ends_us, default=START), seq=seq)


def sensor(
    modality: Modality, gate: Gate = "live", health: Health = "ok", epoch: int = 0, seq: int = 0
) -> Message[Any]:
    body = SensorState(
        modality=modality, gate=gate, health=health, reason=None, device="d", mask_epoch=epoch, rate_hz=1, dropped=0
    )
    return message(f"state/{modality}", body, origin_us=START, seq=seq)


@dataclass
class Scene:
    """Feeds a fold hop by hop. ``log`` keeps every event, ``outputs`` every estimate."""

    settings: FusionSettings = SETTINGS
    now_us: int = START
    log: list[Event] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fusion = Fusion(self.settings, HashModel())
        self.state: FusionState = self.fusion.initial(self.now_us)

    def give(self, *events: Event | Message[Any]) -> list[Output]:
        fresh: list[Output] = []
        for event in events:
            item = Arrived(event) if isinstance(event, Message) else event
            self.log.append(item)
            self.state, outcome = self.fusion.step(self.state, item)
            fresh += outcome.outputs
            for name, count in outcome.drops.items():
                self.drops[name] = self.drops.get(name, 0) + count
        self.outputs += fresh
        return fresh

    def hop(self, *present: Modality, seed: int = 0, epoch: int = 0, **options: Any) -> Output:
        """Half a second of tokens of the modalities ``present``, then the tick; returns the provisional estimate."""
        for modality in present:
            ends = [self.now_us + round((i + 1) * SECOND / RATE[modality] / 2 * 2) for i in range(RATE[modality])]
            ends = [e for e in ends if e <= self.now_us + SECOND // 2]
            context = self.now_us if modality == "text" else 0
            self.give(tokens(modality, ends, seed, epoch=epoch, **{"context": context, **options}))
        return self.tick()

    def tick(self) -> Output:
        self.now_us += self.settings.hop_us
        fresh = self.give(Tick(self.now_us))
        return fresh[-1]

    def settle(self, *present: Modality, hops: int = 10, **options: Any) -> Output:
        for _ in range(hops):
            newest = self.hop(*present, **options)
        return newest

    def mask(self, modality: Modality, epoch: int) -> None:
        self.give(ModalityPurged(modality, epoch), sensor(modality, "masked", "absent", epoch))

    def unmask(self, modality: Modality, epoch: int) -> None:
        self.give(ModalityPurged(modality, epoch), sensor(modality, "live", "warming", epoch))


def result(output: Output) -> bytes:
    return canonical(output.origin_us, output.estimate)


def subsets() -> list[tuple[Modality, ...]]:
    """All eight subsets of the modalities."""
    return [tuple(m for i, m in enumerate(MODALITIES) if n >> i & 1) for n in range(8)]


def name(present: tuple[Modality, ...]) -> Combination:
    return combination_of(set(present))
