"""``python -m tests.contract.pulse.home PLACE``: twelve seconds with a pulse, masked in between, recorded.

Every process of the table that this configuration asks for runs, on the in-memory bus and a fake clock. The results
are written to ``seen.json``. The environment variable must be set before this starts.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import Feature, SensorState
from edge_mer.contract.modalities import ALL
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.page.strings import strings_js
from edge_mer.host.processes import rows_for
from edge_mer.privacy.switch.receipts import FILE, verify
from edge_mer.privacy.switch.switch import Switch, SwitchInputs
from edge_mer.runtime.model_file import read_model
from edge_mer.session.keys import key_store
from edge_mer.session.reader import Session
from tests.contract.pulse.graphs import write_graphs
from tests.switch_bench import SwitchBench

VOICE_US = SECOND // 8


class PulseHome(SwitchBench):
    """A switch bench with random audio features and the toy pulse sensor."""

    def __init__(self, place: Path) -> None:
        state = place / "state"
        state.mkdir(mode=0o700)
        off = {m: {"source": "off"} for m in ("audio", "video", "text")}
        record = {"path": str(place / "pulse.mcap"), "raw": True, "min_free_mb": 0}
        models = {"directory": str(write_graphs(place / "models"))}
        super().__init__(state, record=record, models=models, **off)
        self.processes = [row for row in rows_for(self.config) if row.name != "switch"]
        self.workers = [self._started(row.name, row.module, row.argument) for row in self.processes]
        self.emotion = self.bus("watcher").reader("emotion")
        self.estimates: list[tuple[int, str]] = []
        self._voice, self._random, self._steps = self.bus("voice"), np.random.default_rng(0), 0
        self._feature = self._voice.publisher("feature/audio", "perception.audio")
        self._sensor = self._voice.publisher("state/audio", "microphone")
        model = read_model(Path(models["directory"]) / f"fusion.{ALL}.onnx").metadata
        self._model, self._dim = model["encoders"]["audio"], model["dims"]["audio"]

    def start_switch(self) -> None:
        """Gates that the table starts verify leases against the boot of this host."""
        self._switch_bus = self.bus()
        self.switch = Switch(self.config, self._switch_bus, host_boot_id(), SwitchInputs())

    def live(self, seconds: float) -> list[str]:
        """Run for ``seconds``; returns the combinations of the windows that ended."""
        begun = self.clock.now_us()
        self.run(round(seconds * SECOND), *self.workers, each=self._step)
        return [combination for at, combination in self.estimates if at > begun]

    def _started(self, name: str, module: str, argument: str | None) -> Any:
        return import_module(module).build(self.config, self.bus(name), *([argument] if argument else []))

    def _step(self) -> None:
        now, self._steps = self.clock.now_us(), self._steps + 1
        if self._steps % 6 == 1:
            self._send_audio(now)
        fresh = [m for m in self.emotion.drain() if not m.body.final and not m.body.revision]
        self.estimates += [(m.envelope.origin_us, m.body.combination) for m in fresh]

    def _send_audio(self, now: int) -> None:
        ends = np.array([now], np.int64)
        values = self._random.normal(size=(1, self._dim)).astype(np.float32)
        body = Feature(
            modality="audio",
            encoder="drawn",
            model=self._model,
            raw_source="microphone",
            raw_boot="voice",
            raw_first=0,
            raw_last=0,
            context=1,
            cut=False,
            final=True,
            watermark_us=now,
            biometric=True,
            mask_epoch=self.switch.epochs()["audio"] if self.switch else 0,
            raw_created_us=now,
        )
        self._feature.send(body, [values, ends - VOICE_US, ends, np.ones(1, np.uint8)], origin_us=now)
        state = SensorState(
            modality="audio",
            gate="live",
            health="ok",
            reason=None,
            device="drawn",
            mask_epoch=body.mask_epoch,
            rate_hz=8.0,
            dropped=0,
        )
        self._sensor.send(state, origin_us=now)


def main(place: Path) -> dict[str, Any]:
    home = PulseHome(place)
    both = home.live(5)
    home.ask("mask", "pulse", requester="anna")  # type: ignore[arg-type]
    masked_us = home.clock.now_us()
    without = home.live(3)
    (answer,) = home.answers()[-1:]
    unmasked_us = home.clock.now_us()
    home.ask("unmask", "pulse")  # type: ignore[arg-type]
    again = home.live(5)
    for worker in reversed(home.workers):
        worker.close()
    receipts = verify(home.directory / FILE, home.host_public).receipts
    session = Session(place / "pulse.mcap", key_store(home.config))
    raw = [m.envelope.origin_us for m in session.messages("raw/pulse")]
    presence = [m.body.presence["pulse"].state for m in session.messages("emotion")]  # type: ignore[index]
    return {
        "modalities": MODALITIES,
        "topics": [t for t in SERVICES if t.endswith("/pulse")],
        "processes": [row.name for row in home.processes],
        "both": both,
        "without": without,
        "again": again,
        "answer": [answer.ok, answer.text, list(answer.receipts)],
        "receipts": [[r.modality, r.requester, list(r.purged), r.handle_closed, r.number] for r in receipts],
        "raw": len(raw),
        "raw_while_masked": len([t for t in raw if masked_us < t < unmasked_us]),
        "presence": sorted(set(presence)),
        "sealed": session.sealed,
        "unverifiable": session.trailer.unverifiable if session.trailer else "no trailer",
        "page": strings_js("en").decode(),
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "seen.json").write_text(json.dumps(main(place)))
