"""All workers that play a file, in one process on a fake clock: the whole chain, faster than real time."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.capture.gated_source import GatedSource
from edge_mer.capture.playback.file import assemble
from edge_mer.config import Config, is_off
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.control import Command
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.fusion.affect import affect_of
from edge_mer.fusion.model import FusionModel, load_fusion_model
from edge_mer.fusion.node import FusionNode
from edge_mer.host.files import state_directory
from edge_mer.host.worker import Worker
from edge_mer.perception.node import PerceptionNode
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES, FILE, home_consent, write_deployment
from edge_mer.privacy.consent_setup import pair_console
from edge_mer.privacy.switch.switch import Switch
from edge_mer.runtime.select import models_directory, open_backend

STEP_US: Final = 16_000
BOOT_ID: Final = "in-memory-boot"
TODAY: Final = datetime.date(2026, 1, 1)


class InMemoryChain:
    """Switch, file, encoders and fusion of ``config`` on ``broker``; what is not off is unmasked at the start.

    ``config.privacy.state`` must be a directory of its own: it gets a deployment that agrees to everything.
    """

    def __init__(self, config: Config, broker: MemoryBroker | None = None) -> None:
        self.clock, self.broker = FakeClock(), broker or MemoryBroker()
        state = state_directory(config.privacy.state)
        write_deployment(state / FILE, home_consent("the chain", CONSENT_SCOPES, TODAY))
        self._console = pair_console(state, TODAY)
        self.switch = Switch(config, self.bus(), BOOT_ID)
        file_bus = self.bus()
        capture = assemble(config, file_bus, lambda m, d: GatedSource(config, file_bus, "file", m, d, boot_id=BOOT_ID))
        used = tuple(m for m in MODALITIES if not is_off(config, m))
        models = models_directory(None)
        self.model: FusionModel = load_fusion_model(open_backend(config.models), models)
        perception = [PerceptionNode.open(m, config, self.bus()) for m in used]
        affect = affect_of(models, self.model.encoders)
        self.fusion = FusionNode(self.bus(), config, self.model, {"backend": "onnxruntime"}, affect=affect)
        self.workers: list[Worker] = [self.switch, capture, *perception, self.fusion]
        self._client = self.bus().client("switch")
        self.command("unmask", *used)

    def bus(self) -> MemoryBus:
        return MemoryBus(self.broker, self.clock)

    def run(self, seconds: float, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass; ``each`` is called after every turn of all workers."""
        for _ in range(round(seconds * 1e6 / STEP_US)):
            for worker in self.workers:
                worker.turn()
            each()
            self.clock.advance(STEP_US)

    def command(self, action: str, *modalities: Modality) -> None:
        """``mask`` or ``unmask``, as from a paired console."""
        epoch = max(self.switch.epochs().values())
        grant = self._console.grant(self.switch.host, modalities, epoch, self.clock.wall_us())
        self._client.send(
            Command(
                id=f"{action}{self.clock.now_us()}",
                action=action,
                modalities=modalities,
                grant=grant if action == "unmask" else None,
            )
        )
