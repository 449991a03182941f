"""An instance in memory for the session tests: sensors, switch, real fusion node and recorder, run step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_mer.bus import MemoryBroker, MemoryBus, Publisher
from edge_mer.config import Config
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Purge, Purged, Register
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Gate, Health, Modality, modalities_of
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Feature, Message, SensorState
from edge_mer.fusion.model import FusionModel, Prediction
from edge_mer.fusion.node import FusionNode
from edge_mer.fusion.window import TokenWindow
from edge_mer.privacy.consent_setup import agree
from edge_mer.session.reader import Session
from edge_mer.session.recorder import Recorder, build, opening
from edge_mer.session.replay_components import ReplayComponents
from edge_mer.session.trailer_builder import TrailerBuilder
from edge_mer.session.writer import SessionWriter
from tests.switch_bench import TODAY

STEP_US = SECOND // 10
DIM = 4


class FakeModel:
    """Deterministic; its output depends on every byte of the present modalities."""

    name = "fake@1"
    capacity: Mapping[Modality, int] = dict.fromkeys(MODALITIES, 8)
    dims: Mapping[Modality, int] = dict.fromkeys(MODALITIES, DIM)
    encoders: Mapping[Modality, str] = {m: f"fake {m}" for m in MODALITIES}

    def predict(self, combination: Combination, windows: Mapping[Modality, TokenWindow]) -> Prediction:
        total = sum(float(windows[m].values.sum()) for m in modalities_of(combination))
        raw = np.exp(np.sin(total * np.arange(1, len(EMOTIONS) + 1)))
        return Prediction(tuple(float(p) for p in raw / raw.sum()), float(np.tanh(total)), None)


def load_fake(name: str) -> FusionModel:
    if name != FakeModel.name:
        raise SessionError(f"no model {name}")
    return FakeModel()


FAKE = ReplayComponents(load_fake)


class Home:
    def __init__(self, path: Path, seed: int = 0, model: FusionModel | None = None, **record: Any) -> None:
        self.path, self.rng = path, np.random.default_rng(seed)
        self.model = model or FakeModel()
        self.clock, self.broker = FakeClock(), MemoryBroker()
        state = agree(str(path.parent / f"{path.stem}.state"), ("audio", "video", "text"), "Anna", TODAY)
        self.config = Config.model_validate(
            {
                "record": {"path": str(path), "min_free_mb": 0, "encrypt": False, **record},
                "privacy": {"state": str(state)},
            }
        )
        self.switch = self.bus("switch").server("switch")
        self.peers: dict[str, bytes] = {}
        self.purged: list[tuple[str, Modality, int]] = []
        self.epochs: dict[Modality, int] = dict.fromkeys(MODALITIES, 1)
        self.recorder: Recorder = build(self.config, self.bus("recorder"))
        self.node = self.start_fusion("fusion1")
        self.start_sensors("sensors")
        self.steps = 0
        self.steady = False  # nothing cuts the context
        self.silent: set[Modality] = set()

    def bus(self, boot: str) -> MemoryBus:
        return MemoryBus(self.broker, self.clock, boot)

    def start_fusion(self, boot: str) -> FusionNode:
        self.fusion_bus = self.bus(boot)
        return FusionNode(self.fusion_bus, self.config, self.model, {"backend": "test"})

    def restart_fusion(self) -> None:
        """kill -9 and a successor."""
        self.fusion_bus.close()
        self.node = self.start_fusion(f"fusion{self.steps}")

    def publish_feature(
        self, modality: Modality, tokens: int | None = None, epoch: int | None = None, ago_us: int = 0
    ) -> Message[Any]:
        """``ago_us``: how long ago the described event was, as for a late transcript."""
        now, count = self.clock.now_us() - ago_us, int(self.rng.integers(1, 4)) if tokens is None else tokens
        ends = now - np.arange(count, dtype=np.int64)[::-1] * 1000
        valid = (self.rng.random(count) < 0.9).astype(np.uint8)
        body = Feature(
            modality=modality,
            encoder="fake",
            model=self.model.encoders[modality],
            raw_source="gate",
            raw_boot="sensors",
            raw_first=0,
            raw_last=0,
            context=int(not self.steady and self.rng.random() < 0.02),
            cut=bool(not self.steady and self.rng.random() < 0.02),
            final=bool(self.rng.random() < 0.5),
            watermark_us=now,
            biometric=modality != "text",
            mask_epoch=self.epochs[modality] if epoch is None else epoch,
            raw_created_us=now,
        )
        values = self.rng.standard_normal((count, self.model.dims[modality])).astype(np.float32)
        payload = [values, ends - 1000, ends, valid]
        publisher = self.features[modality] if modality not in self.silent else self.unconnected(modality)
        return publisher.send(body, payload, origin_us=now)

    def unconnected(self, modality: Modality) -> Publisher:
        """A publisher without readers, for an absent sensor."""
        return Publisher(f"feature/{modality}", "unconnected", "", self.clock, lambda frames: None, lambda: None)

    def publish_state(
        self, modality: Modality, gate: Gate = "live", health: Health = "ok", epoch: int | None = None
    ) -> Message[Any]:
        body = SensorState(
            modality=modality,
            gate=gate,
            health=health,
            reason=None,
            device="fake",
            mask_epoch=self.epochs[modality] if epoch is None else epoch,
            rate_hz=10.0,
            dropped=0,
        )
        return self.states[modality].send(body, origin_us=self.clock.now_us())

    def restart_sensors(self) -> None:
        """New instances of all feature publishers."""
        self.sensors.close()
        self.start_sensors(f"sensors{self.steps}")

    def start_sensors(self, boot: str) -> None:
        self.sensors = self.bus(boot)
        self.features = {m: self.sensors.publisher(f"feature/{m}", f"perception.{m}") for m in MODALITIES}
        self.states = {m: self.sensors.publisher(f"state/{m}", f"gate.{m}") for m in MODALITIES}

    def step(self, drop: float = 0.2) -> None:
        """A tenth of a second: features, dropped with probability ``drop``; states once a second; one turn."""
        for modality in MODALITIES:
            if self.rng.random() >= drop:
                self.publish_feature(modality)
            if self.steps % 10 == 0:
                self.publish_state(modality)
        self.turn()
        self.clock.advance(STEP_US)
        self.steps += 1

    def turn(self) -> None:
        self.node.turn()
        self.recorder.turn()
        while (item := self.switch.receive()) is not None:
            peer, message = item
            if isinstance(message, Register):
                self.peers[message.name] = peer
            elif isinstance(message, Purged):
                self.purged.append((message.name, message.modality, message.mask_epoch))

    def mask(self, modality: Modality) -> int:
        """The switch orders all data holders to purge ``modality``; returns the new epoch."""
        self.epochs[modality] = max(self.epochs.values()) + 1
        for peer in self.peers.values():
            self.switch.send(peer, Purge(modality=modality, mask_epoch=self.epochs[modality]))
        return self.epochs[modality]

    def finish(self) -> Path:
        self.turn()
        self.recorder.close()
        return self.path


def record_run(path: Path, seed: int = 0, steps: int = 60) -> Path:
    """A random run with drops, a mask and a restart of fusion, recorded."""
    home = Home(path, seed)
    for step in range(steps):
        home.step()
        if step == steps // 3:
            home.mask("audio")
        if step == steps // 2:
            home.restart_fusion()
    return home.finish()


def busy_run(path: Path, seed: int, **record: Any) -> Path:
    """A run with random masks, drops, late text, floods, restarts and stalls."""
    home = Home(path, seed, **record)
    for _ in range(8):
        act(home, *random_event(home))
        for _ in range(int(home.rng.integers(6, 14))):
            home.step()
    return home.finish()


def random_event(home: Home) -> tuple[str, Modality]:
    names = ("mask", "late text", "flood", "fusion restarts", "sensors restart", "stall", "sensor gone", "nothing")
    return names[int(home.rng.integers(len(names)))], MODALITIES[int(home.rng.integers(3))]


def act(home: Home, what: str, modality: Modality) -> None:
    if what == "mask":
        home.mask(modality)
        home.turn()
        home.publish_state(modality, "masked")
    elif what == "late text":
        for ago in (1_500_000, 900_000, 300_000):
            home.publish_feature("text", tokens=2, ago_us=ago)
    elif what == "flood":
        for _ in range(40):
            home.publish_feature(modality)
    elif what == "fusion restarts":
        home.restart_fusion()
    elif what == "sensors restart":
        home.restart_sensors()
    elif what == "stall":
        home.clock.advance(1_300_000)
    elif what == "sensor gone":
        home.publish_state(modality, health="absent")


def read_all(path: Path, *topics: str) -> list[Message[Any]]:
    session = Session(path)
    found = list(session.messages(*topics))
    assert session.faults == []
    return found


def rewrite(source: Path, target: Path, change: Callable[[list[Message[Any]]], Iterable[Message[Any]]]) -> Path:
    """A forged copy: changed content with valid checksums and trailer."""
    content = list(change(read_all(source)))
    home = MemoryBus(MemoryBroker(), FakeClock(), "forger")
    started = opening(Config(), home)
    writer, builder = SessionWriter(target, started), TrailerBuilder(started)
    for message in content:
        writer.add(message, message.envelope.created_us)
        builder.take(message)
    writer.close(msgspec.structs.replace(builder.build(writer, 0, {}), unverifiable=None))
    return target


def remade(message: Message[Any], **changes: Any) -> Message[Any]:
    """The same message with other body fields, as a forger would encode it."""
    body = msgspec.structs.replace(message.body, **changes)
    frames = wire.encode(message.topic, message.envelope, body, message.payload)
    return wire.decode(message.topic, type(message.body), 1, 10_000_000, frames)


def frames_of(message: Message[Any]) -> list[bytes]:
    return [message.topic.encode(), message.header, *(a.tobytes() for a in message.payload)]
